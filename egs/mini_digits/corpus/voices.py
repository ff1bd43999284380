"""The voices of each split: an accent and a speaker; no speaker is in two splits."""

ACCENTS = (
    "en-us",
    "en",  # Great Britain
    "en-gb-scotland",
    "en-gb-x-rp",  # Received Pronunciation
    "en-gb-x-gbclan",  # Lancaster
    "en-gb-x-gbcwmd",  # West Midlands
    "en-029",  # Caribbean
)
"""How the digits are pronounced; every split has all of them."""

# espeak-ng's variants are the speakers: they set pitch range, formants, breath and roughness. The robots
# and the whisperers are left out. Variants that are versions of one another (Gene, Gene2) stay together.
SPEAKERS: dict[str, tuple[str, ...]] = {
    "train": (
        *("Alex", "Alicia", "Andrea", "Andy", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2", "Henrique"),
        *("Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "mike2", "Nguyen", "Reed", "adam"),
        *("anika", "announcer", "antonio", "belinda", "benjamin", "boris", "david", "ed", "f1", "f2", "f4"),
        *("ian", "iven", "iven2", "iven3", "iven4", "john", "linda", "m1", "m2", "m3", "m5", "m7", "max"),
        *("michel", "norbert", "pablo", "paul", "pedro", "quincy", "rob"),
    ),
    "valid": (
        "caleb",
        "edward",
        "edward2",
        "f3",
        "gustave",
        "kaukovalta",
        "m4",
        "marcelo",
        "miguel",
        "travis",
    ),
    "test": (
        *("Annie", "RicishayMax", "RicishayMax2", "RicishayMax3", "aunty", "f5", "grandma", "grandpa"),
        *("m6", "m8", "robert", "sandro", "shelby", "steph", "steph2", "steph3", "victor", "zac"),
    ),
}


def voices(split: str) -> list[str]:
    """Every voice of `split` as espeak-ng names it, in a fixed order: "en-us+f3"."""
    return [f"{accent}+{speaker}" for accent in ACCENTS for speaker in SPEAKERS[split]]
