"""What commands say: results on standard output, progress and causes on standard error."""

import json
import sys


def say(text: str) -> None:
    """What is going on, on standard error: standard output is for files and JSON."""
    print(f"motion: {text}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
