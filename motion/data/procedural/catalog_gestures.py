"""Families of the arms and the torso."""

from typing import Final

from motion.data.procedural import gestures
from motion.data.procedural.family import LEFT_RIGHT, Family

GESTURES: Final[dict[str, Family]] = {
    "throw": Family(
        animate=gestures.throw,
        phrases={
            "": (
                "throws a ball with {hands}",
                "throws something overarm with {hands}",
                "hurls an object forward with {arms}",
                "is throwing with {hands}",
            )
        },
        unseen={"": ("pitches a ball with {hands}", "flings something ahead with {arms}")},
        upper="throws overarm with {hands}",
        lower="steps forward with the {other} foot",
        sides=LEFT_RIGHT,
    ),
    "push": Family(
        animate=gestures.push,
        phrases={
            "": (
                "pushes forward with both hands",
                "shoves something away with both arms",
                "is pushing a heavy thing ahead",
                "presses both palms forward",
            )
        },
        unseen={"": ("gives a two handed shove", "thrusts the palms to the front")},
        upper="pushes forward with both hands",
        lower="steps forward and back",
    ),
    "reach": Family(
        animate=gestures.reach,
        phrases={
            "up": (
                "reaches up high with {hands}",
                "stretches {arms} up to a high shelf",
                "stands on tiptoe and reaches up with {hands}",
            ),
            "front": (
                "reaches far forward with {hands}",
                "leans forward and reaches out with {arms}",
                "extends {arms} to grasp something in front",
            ),
        },
        unseen={
            "up": (
                "tries to touch the ceiling with {hands}",
                "grabs at something above with {hands}",
            ),
            "front": ("grabs at something ahead with {hands}", "leans out to fetch with {hands}"),
        },
        upper="reaches {direction} with {hands}",
        lower="stands in place",
        sides=LEFT_RIGHT,
    ),
    "arm_circles": Family(
        animate=gestures.arm_circles,
        phrases={
            "forward": (
                "swings both arms in forward circles",
                "does forward arm circles",
                "circles the straight arms to the front",
            ),
            "backward": (
                "swings both arms in backward circles",
                "does backward arm circles",
                "circles the straight arms to the back",
            ),
        },
        unseen={
            "forward": (
                "windmills the arms forward",
                "rotates both shoulders forward with long arms",
            ),
            "backward": (
                "windmills the arms backward",
                "rotates both shoulders back with long arms",
            ),
        },
        upper="swings both arms in {direction} circles",
        lower="stands still",
    ),
    "torso_twist": Family(
        animate=gestures.torso_twist,
        phrases={
            "": (
                "twists the upper body from side to side",
                "rotates the torso left and right with raised elbows",
                "does torso twists",
                "is turning the shoulders to and fro",
            )
        },
        unseen={"": ("wrings the waist both ways", "does trunk rotations")},
        upper="twists from side to side with raised elbows",
        lower="stands still",
    ),
    "drink": Family(
        animate=gestures.drink,
        phrases={
            "": (
                "drinks from a cup with {hands}",
                "brings a glass to the mouth with {hands}",
                "takes a sip, holding the cup in {hands}",
                "lifts {hands} to the mouth and drinks",
            )
        },
        unseen={"": ("has a drink with {hands}", "empties a mug held in {hands}")},
        upper="brings {hands} to the mouth and tips the head back",
        lower="stands still",
        sides=LEFT_RIGHT,
        length_s=1.6,
    ),
    "bat_swing": Family(
        animate=gestures.bat_swing,
        phrases={
            "": (
                "swings a bat from the {side} side",
                "hits a ball with a bat held at the {side} shoulder",
                "is batting from the {side}",
                "swings both arms across from the {side}",
            )
        },
        unseen={
            "": ("bats a ball from the {side} side", "takes a two handed swing from the {side}")
        },
        upper="swings both hands across from the {side} shoulder",
        lower="shifts the weight and turns the hips",
        sides=LEFT_RIGHT,
    ),
    "cheer": Family(
        animate=gestures.cheer,
        phrases={
            "": (
                "cheers with both fists in the air",
                "hops and pumps both fists overhead",
                "celebrates with raised arms",
                "is cheering",
            )
        },
        unseen={"": ("jumps for joy", "rejoices over a victory")},
        upper="pumps both fists overhead",
        lower="hops",
        speeds=("normal", "fast"),
    ),
    "point": Family(
        animate=gestures.point,
        phrases={
            "front": (
                "points ahead with {hands}",
                "points to the front with {arms}",
                "stretches {arms} out to point at something",
            ),
            "side": (
                "points to the {side} with {hands}",
                "points sideways with {arms}",
                "stretches {arms} out to the side and looks there",
            ),
        },
        unseen={
            "front": (
                "indicates something ahead with {hands}",
                "singles somebody out with {hands}",
            ),
            "side": ("indicates something over there with {hands}", "shows the way {side}"),
        },
        upper="points to the {direction} with {hands}",
        lower="stands still",
        sides=LEFT_RIGHT,
    ),
}
"""Families by name."""
