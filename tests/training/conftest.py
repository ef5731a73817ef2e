"""Ray's processes must find the toy system: they inherit the environment, not pytest's sys.path.

Set while pytest collects, because the session's cluster is started later, by whichever test needs
it first.
"""

import os
from pathlib import Path

_HERE = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join([_HERE, *filter(None, [os.environ.get("PYTHONPATH")])])
