"""The families that older datasets know, in their order."""

from typing import Final

from motion.data.procedural import lower, upper
from motion.data.procedural.family import LEFT_RIGHT, Family

BASIC: Final[dict[str, Family]] = {
    "walk": Family(
        animate=lower.walk,
        phrases={
            "forward": ("walks forward", "takes a few steps forward", "is walking ahead"),
            "backward": ("walks backward", "takes a few steps backward", "is walking in reverse"),
        },
        unseen={
            "forward": ("strolls straight on", "goes forward on foot"),
            "backward": ("backs away on foot", "strolls backwards"),
        },
        upper="swings the arms along with the steps",
        lower="walks {direction}",
    ),
    "jog": Family(
        animate=lower.jog,
        phrases={"": ("runs in place", "jogs on the spot", "is running without leaving the spot")},
        unseen={"": ("jogs without moving ahead", "does a stationary run")},
        upper="pumps the bent arms",
        lower="runs in place",
    ),
    "wave": Family(
        animate=upper.wave,
        phrases={
            "": (
                "waves {hands}",
                "raises {arms} and waves",
                "is waving hello with {hands}",
                "greets somebody with {hands}",
            )
        },
        unseen={"": ("signals a greeting with {arms}", "says hi by waving {arms}")},
        upper="waves {hands}",
        lower="stands still",
        sides=("left", "right", "both"),
    ),
    "kick": Family(
        animate=lower.kick,
        phrases={
            "": (
                "kicks with the {side} leg",
                "kicks forward with the {side} foot",
                "swings the {side} leg up in a kick",
            )
        },
        unseen={"": ("gives a front kick with the {side} leg", "boots with the {side} foot")},
        upper="balances with the arms",
        lower="kicks forward with the {side} leg",
        sides=LEFT_RIGHT,
    ),
    "punch": Family(
        animate=upper.punch,
        phrases={
            "": ("punches with {hands}", "throws punches with {arms}", "is boxing with {fists}")
        },
        unseen={"": ("jabs with {fists}", "hits straight ahead with {fists}")},
        upper="punches with {hands}",
        lower="stands in a stance",
        sides=("left", "right", "both"),
    ),
    "jump": Family(
        animate=lower.jump,
        phrases={
            "up": ("jumps up", "jumps straight into the air", "crouches and leaps up"),
            "forward": ("jumps forward", "leaps ahead", "does a jump to the front"),
        },
        unseen={
            "up": ("does a vertical jump", "springs up off the floor"),
            "forward": ("does a long jump", "springs forward with both feet"),
        },
        upper="swings both arms up",
        lower="crouches and jumps {direction}",
        speeds=("normal",),
        length_s=1.6,
    ),
    "squat": Family(
        animate=lower.squat,
        phrases={"": ("squats", "does a squat", "bends the knees into a deep squat")},
        unseen={"": ("performs a knee bend", "goes down into a squat and comes up")},
        upper="stretches both arms forward",
        lower="squats",
    ),
    "turn": Family(
        animate=lower.turn,
        phrases={
            "quarter": (
                "turns to the {side}",
                "makes a quarter turn to the {side}",
                "is turning {side}",
            ),
            "around": (
                "turns around to the {side}",
                "makes a half turn to the {side}",
                "spins around over the {side} shoulder",
            ),
        },
        unseen={
            "quarter": ("rotates {side} by ninety degrees", "pivots to face {side}"),
            "around": ("rotates {side} to face the back", "does an about turn to the {side}"),
        },
        upper="turns along with the legs",
        lower="turns to the {side} in small steps",
        sides=LEFT_RIGHT,
        speeds=("normal", "fast"),
        length_s=1.8,
    ),
    "raise_arms": Family(
        animate=upper.raise_arms,
        phrases={
            "front": (
                "raises both arms in front and overhead",
                "lifts both arms up past the front",
                "brings both hands forward and up over the head",
            ),
            "sides": (
                "raises both arms sideways and overhead",
                "lifts both arms up past the sides",
                "spreads both arms out and up over the head",
            ),
        },
        unseen={
            "front": (
                "swings the straight arms forward until they point up",
                "lifts arms frontally",
            ),
            "sides": ("moves the arms up like wings", "lifts arms laterally above the head"),
        },
        upper="raises both arms overhead",
        lower="stands still",
    ),
    "clap": Family(
        animate=upper.clap,
        phrases={
            "": ("claps", "claps both hands", "applauds with both hands", "is clapping the hands")
        },
        unseen={"": ("gives applause", "beats the palms together")},
        upper="claps both hands",
        lower="stands still",
    ),
    "side_step": Family(
        animate=lower.side_step,
        phrases={
            "": (
                "steps to the {side}",
                "takes side steps to the {side}",
                "is moving sideways to the {side}",
            )
        },
        unseen={"": ("shuffles {side}", "goes to the {side} step by step, facing ahead")},
        upper="lets the arms swing out",
        lower="takes side steps to the {side}",
        sides=LEFT_RIGHT,
    ),
    "bow": Family(
        animate=upper.bow,
        phrases={"": ("bows", "takes a bow", "bends forward in a bow")},
        unseen={"": ("makes a polite bow", "bends at the waist to greet")},
        upper="bends forward with hanging arms",
        lower="stands with straight legs",
    ),
    "lunge": Family(
        animate=lower.lunge,
        phrases={
            "": (
                "lunges forward with the {side} leg",
                "does a lunge on the {side} leg",
                "steps into a deep lunge with the {side} foot",
            )
        },
        unseen={"": ("drops into a {side} lunge", "does a split squat, {side} foot in front")},
        upper="puts the hands to the hips",
        lower="lunges forward with the {side} leg",
        sides=LEFT_RIGHT,
    ),
    "jumping_jack": Family(
        animate=lower.jumping_jack,
        phrases={"": ("does jumping jacks", "performs star jumps", "is doing jumping jacks")},
        unseen={
            "": ("jumps with arms and legs apart and together", "works out with side straddle hops")
        },
        upper="swings both arms overhead and down",
        lower="hops the feet apart and together",
        speeds=("normal", "fast"),
    ),
    "side_bend": Family(
        animate=upper.side_bend,
        phrases={
            "": (
                "bends the upper body to the {side}",
                "leans to the {side} with the {other} arm overhead",
                "stretches over to the {side} side",
            )
        },
        unseen={"": ("tilts the torso {side}", "does a side bend to the {side}")},
        upper="bends to the {side} with the {other} arm overhead",
        lower="stands still",
        sides=LEFT_RIGHT,
    ),
}
"""Families by name; the order stays, so that a seed keeps its action."""
