"""Names that are said instead of a patient's: short, plain, in both languages, given once.

A number becomes a word and a count ("Pine 12", "소나무 12"); neighbours in time carry different
words, so that two patients of one evening do not sound alike. No triage colour, no number word, no
person and nothing that could be taken for a judgement may enter the list; its order never changes,
for the numbers of old patients say their names by it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

WORDS: tuple[tuple[str, str], ...] = (
    *(("Pine", "소나무"), ("Heron", "왜가리"), ("Harbour", "항구"), ("Maple", "단풍")),
    *(("Cello", "첼로"), ("Meadow", "들판"), ("Otter", "수달"), ("Lantern", "등불")),
    *(("Juniper", "노간주"), ("Comet", "혜성"), ("Willow", "버드나무"), ("Anchor", "닻")),
    *(("Swallow", "제비"), ("Granite", "화강암"), ("Clover", "토끼풀"), ("Island", "섬")),
    *(("Magnolia", "목련"), ("Compass", "나침반"), ("Dolphin", "돌고래"), ("Autumn", "가을")),
    *(("Ginkgo", "은행나무"), ("Kite", "연"), ("Valley", "골짜기"), ("Sparrow", "참새")),
    *(("Bamboo", "대나무"), ("Lighthouse", "등대"), ("Squirrel", "다람쥐"), ("Cloud", "구름")),
    *(("Camellia", "동백"), ("Bridge", "다리"), ("Crane", "두루미"), ("Pebble", "조약돌")),
    *(("Birch", "자작나무"), ("Piano", "피아노"), ("Lake", "호수"), ("Thrush", "지빠귀")),
    *(("Lotus", "연꽃"), ("Sail", "돛"), ("Turtle", "거북이"), ("Winter", "겨울")),
    *(("Chestnut", "밤나무"), ("Violin", "바이올린"), ("River", "강물"), ("Cuckoo", "뻐꾸기")),
    *(("Azalea", "진달래"), ("Tower", "탑"), ("Rabbit", "토끼"), ("Rainbow", "무지개")),
    *(("Zelkova", "느티나무"), ("Flute", "피리"), ("Canyon", "협곡"), ("Magpie", "까치")),
    *(("Sunflower", "해바라기"), ("Ferry", "나룻배"), ("Deer", "사슴"), ("Summer", "여름")),
    *(("Walnut", "호두"), ("Drum", "북"), ("Spring", "샘물"), ("Oriole", "꾀꼬리")),
    *(("Iris", "붓꽃"), ("Windmill", "풍차"), ("Salmon", "연어"), ("Aurora", "오로라")),
)
_SAID = re.compile(r"([^\W\d_]+)\s*(\d{1,9})")


@dataclass(frozen=True)
class TemporaryName:
    """The same name in both languages."""

    en: str
    ko: str


def of(number: int) -> TemporaryName:
    """The name that a number says; number counts from 1."""
    count, place = divmod(number - 1, len(WORDS))
    en, ko = WORDS[place]
    return TemporaryName(f"{en} {count + 1}", f"{ko} {count + 1}")


def number_of(said: str) -> int | None:
    """The number of a name in either language, however it is spaced; None when it is no name."""
    found = _SAID.fullmatch(unicodedata.normalize("NFKC", said).strip().casefold())
    place = _PLACES.get(found[1]) if found else None
    if found is None or place is None or int(found[2]) < 1:
        return None
    return (int(found[2]) - 1) * len(WORDS) + place + 1


_PLACES = {word.casefold(): place for place, pair in enumerate(WORDS) for word in pair}
