"""Families of the whole body: travelling, postures, dances."""

from typing import Final

from motion.data.procedural import dances, postures, travel
from motion.data.procedural.family import LEFT_RIGHT, Family

MOVES: Final[dict[str, Family]] = {
    "run": Family(
        animate=travel.run,
        phrases={"": ("runs forward", "runs ahead", "is running straight on", "jogs forward")},
        unseen={"": ("sprints to the front", "hurries forward at a run")},
        upper="pumps the bent arms",
        lower="runs forward",
        speeds=("normal", "fast"),
    ),
    "walk_curve": Family(
        animate=travel.walk_curve,
        phrases={
            "": (
                "walks in a curve to the {side}",
                "walks along an arc to the {side}",
                "is walking and bearing {side}",
                "veers {side} while walking",
            )
        },
        unseen={"": ("rounds a corner to the {side} on foot", "circles to the {side} at a walk")},
        upper="swings the arms along with the steps",
        lower="walks in a curve to the {side}",
        sides=LEFT_RIGHT,
        length_s=1.9,
    ),
    "march": Family(
        animate=travel.march,
        phrases={
            "": (
                "marches in place",
                "marches on the spot with high knees",
                "lifts the knees high in turn",
                "is marching without moving ahead",
            )
        },
        unseen={"": ("steps in place like a soldier", "does high knees, one after the other")},
        upper="swings the straight arms",
        lower="marches in place with high knees",
    ),
    "hop": Family(
        animate=travel.hop,
        phrases={
            "": (
                "hops on the {side} leg",
                "jumps on the {side} foot alone",
                "is hopping with only the {side} foot down",
                "bounces on the {side} leg",
            )
        },
        unseen={
            "": ("does one legged hops on the {side} side", "skips in place on the {side} foot")
        },
        upper="holds the arms out",
        lower="hops on the {side} leg",
        sides=LEFT_RIGHT,
        speeds=("normal", "fast"),
    ),
    "carry": Family(
        animate=travel.carry,
        phrases={
            "": (
                "carries a box forward",
                "walks with a heavy box in both arms",
                "is carrying something in front of the body",
                "holds a load in both arms and walks",
            )
        },
        unseen={"": ("brings a crate forward", "transports a parcel on foot")},
        upper="holds both forearms out under a load",
        lower="walks forward in short steps",
    ),
    "sit": Family(
        animate=postures.sit,
        phrases={
            "": (
                "sits down",
                "sits down on a chair",
                "takes a seat",
                "lowers into a chair and stays seated",
            )
        },
        unseen={"": ("settles down onto a stool", "goes from standing to sitting")},
        upper="leans forward and rests the hands on the thighs",
        lower="sits down",
    ),
    "stretch": Family(
        animate=postures.stretch,
        phrases={
            "toes": (
                "touches the toes",
                "bends down to touch the toes with straight legs",
                "reaches both hands down to the feet",
            ),
            "up": (
                "stretches up on tiptoe with both arms",
                "goes up on the toes and stretches both arms to the sky",
                "rises on tiptoe, both hands as high as possible",
            ),
        },
        unseen={
            "toes": ("folds down to the feet", "stretches the hamstrings"),
            "up": ("makes the body as tall as possible", "yawns and stretches upward on tiptoe"),
        },
        upper="stretches both arms",
        lower="keeps the legs straight",
    ),
    "balance": Family(
        animate=postures.balance,
        phrases={
            "knee": (
                "balances on the {side} leg with the {other} knee up",
                "stands on the {side} leg, arms spread",
                "lifts the {other} knee and balances on the {side} foot",
            ),
            "plane": (
                "balances on the {side} leg, leaning forward like a plane",
                "tips forward on the {side} leg with the {other} leg stretched behind",
                "does a standing scale on the {side} foot",
            ),
        },
        unseen={
            "knee": (
                "stands like a stork on the {side} leg",
                "holds still on the {side} foot only",
            ),
            "plane": (
                "makes an airplane on the {side} leg",
                "does warrior three on the {side} leg",
            ),
        },
        upper="spreads both arms",
        lower="stands on the {side} leg",
        sides=LEFT_RIGHT,
        speeds=("normal", "fast"),
    ),
    "pick_up": Family(
        animate=postures.pick_up,
        phrases={
            "": (
                "picks something up with {hands}",
                "crouches and picks an object up from the floor with {hands}",
                "bends down and takes something with {hands}",
                "is lifting a thing off the ground with {hands}",
            )
        },
        unseen={
            "": ("collects an item off the ground with {hands}", "fetches a coin with {hands}")
        },
        upper="takes something from the floor with {hands}",
        lower="crouches and stands up",
        sides=LEFT_RIGHT,
        speeds=("slow", "normal"),
    ),
    "side_kick": Family(
        animate=postures.side_kick,
        phrases={
            "": (
                "kicks sideways with the {side} leg",
                "does a side kick with the {side} foot",
                "kicks out to the {side}",
                "is kicking to the {side} side",
            )
        },
        unseen={
            "": ("drives the {side} heel out sideways", "gives a lateral kick with the {side} leg")
        },
        upper="keeps the guard up and leans away",
        lower="kicks sideways with the {side} leg",
        sides=LEFT_RIGHT,
    ),
    "dance": Family(
        animate=dances.dance,
        phrases={
            "sway": (
                "dances from side to side",
                "dances with side steps",
                "sways to the music, stepping left and right",
            ),
            "twist": (
                "dances the twist",
                "twists the hips in a dance with bent knees",
                "is dancing and twisting on the spot",
            ),
            "disco": (
                "dances disco with one arm pointing up",
                "does disco moves with one arm up and down",
                "is disco dancing",
            ),
        },
        unseen={
            "sway": ("grooves left and right", "moves to the beat, step and touch"),
            "twist": ("twists like in the sixties", "grooves with turning hips"),
            "disco": ("shows saturday night moves", "points high and low to the beat"),
        },
        upper="moves the arms to the beat",
        lower="shifts from foot to foot",
        speeds=("normal", "fast"),
    ),
    "sneak": Family(
        animate=travel.sneak,
        phrases={
            "": (
                "sneaks forward",
                "creeps forward in a crouch",
                "tiptoes ahead, bent low",
                "is sneaking up on somebody",
            )
        },
        unseen={"": ("prowls ahead", "steals forward with high careful steps")},
        upper="leans forward with the hands before the chest",
        lower="walks forward in a crouch",
        speeds=("slow", "normal"),
    ),
    "duck": Family(
        animate=postures.duck,
        phrases={
            "": (
                "ducks and covers the head",
                "drops into a crouch with both arms over the head",
                "crouches down to take cover",
                "is ducking away",
            )
        },
        unseen={"": ("shelters the head with both arms, crouching", "cowers")},
        upper="covers the head with both arms",
        lower="drops into a crouch",
        length_s=1.7,
    ),
}
"""Families by name."""
