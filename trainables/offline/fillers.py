"""What stands in the open places of the sentence templates: room names, device names, shopping items, free text.

Proper names, loan words and digits that are at home in any language, so that no translation can be wrong. Rooms are
named in the language itself only where the word is beyond doubt; elsewhere they have proper names, as some rooms do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_NEUTRAL: Mapping[str, Sequence[str]] = {
    "area": ("Studio", "Nova", "Atrium", "Lobby"),
    "name": ("TV", "Hue", "Nova", "Luna", "Max"),
    "floor": ("1", "2", "3"),
    "timer_name": ("pizza", "pasta", "yoga"),
    "shopping_list_item": ("pizza", "pasta", "cola", "salami", "mango"),
    "todo_list_item": ("pizza", "pasta", "yoga", "mango"),
    "search_query": ("Madonna", "Mozart", "ABBA"),
    "zone": ("Berlin", "Tokyo", "Lima"),
    "message": ("hello", "pizza", "OK", "bingo", "taxi"),
}

# Kitchen, bedroom, living room, office.
_ROOMS: Mapping[str, Sequence[str]] = {
    "af": ("kombuis", "slaapkamer", "sitkamer", "kantoor"),
    "ar": ("المطبخ", "غرفة النوم", "غرفة المعيشة", "المكتب"),
    "bg": ("кухнята", "спалнята", "хола", "кабинета"),
    "bn": ("রান্নাঘর", "শোবার ঘর", "বসার ঘর", "অফিস"),
    "ca": ("cuina", "habitació", "menjador", "despatx"),
    "cs": ("kuchyň", "ložnice", "obývací pokoj", "pracovna"),
    "cy": ("cegin", "ystafell wely", "lolfa", "swyddfa"),
    "da": ("køkken", "soveværelse", "stue", "kontor"),
    "de": ("Küche", "Schlafzimmer", "Wohnzimmer", "Büro"),
    "el": ("κουζίνα", "υπνοδωμάτιο", "σαλόνι", "γραφείο"),
    "en": ("kitchen", "bedroom", "living room", "office"),
    "es": ("cocina", "dormitorio", "salón", "oficina"),
    "eu": ("sukaldea", "logela", "egongela", "bulegoa"),
    "fa": ("آشپزخانه", "اتاق خواب", "اتاق نشیمن", "دفتر"),
    "fi": ("keittiö", "makuuhuone", "olohuone", "toimisto"),
    "fr": ("cuisine", "chambre", "salon", "bureau"),
    "ga": ("cistin", "seomra leapa", "seomra suí", "oifig"),
    "gl": ("cociña", "dormitorio", "salón", "despacho"),
    "he": ("מטבח", "חדר שינה", "סלון", "משרד"),
    "hi": ("रसोई", "बेडरूम", "लिविंग रूम", "ऑफिस"),
    "hr": ("kuhinja", "spavaća soba", "dnevni boravak", "ured"),
    "hu": ("konyha", "hálószoba", "nappali", "iroda"),
    "is": ("eldhús", "svefnherbergi", "stofa", "skrifstofa"),
    "it": ("cucina", "camera da letto", "soggiorno", "ufficio"),
    "ko": ("주방", "침실", "거실", "사무실"),
    "lt": ("virtuvė", "miegamasis", "svetainė", "biuras"),
    "lv": ("virtuve", "guļamistaba", "viesistaba", "birojs"),
    "nb": ("kjøkken", "soverom", "stue", "kontor"),
    "nl": ("keuken", "slaapkamer", "woonkamer", "kantoor"),
    "pl": ("kuchnia", "sypialnia", "salon", "biuro"),
    "pt": ("cozinha", "quarto", "sala", "escritório"),
    "pt-BR": ("cozinha", "quarto", "sala", "escritório"),
    "ro": ("bucătărie", "dormitor", "sufragerie", "birou"),
    "ru": ("кухня", "спальня", "гостиная", "кабинет"),
    "sk": ("kuchyňa", "spálňa", "obývačka", "pracovňa"),
    "sl": ("kuhinja", "spalnica", "dnevna soba", "pisarna"),
    "sr": ("кухиња", "спаваћа соба", "дневна соба", "канцеларија"),
    "sr-Latn": ("kuhinja", "spavaća soba", "dnevna soba", "kancelarija"),
    "sv": ("kök", "sovrum", "vardagsrum", "kontor"),
    "th": ("ห้องครัว", "ห้องนอน", "ห้องนั่งเล่น", "ห้องทำงาน"),
    "uk": ("кухня", "спальня", "вітальня", "кабінет"),
    "vi": ("nhà bếp", "phòng ngủ", "phòng khách", "văn phòng"),
    "zh-CN": ("厨房", "卧室", "客厅", "办公室"),
    "zh-HK": ("廚房", "睡房", "客廳", "辦公室"),
    "zh-TW": ("廚房", "臥室", "客廳", "辦公室"),
}


def fillers(language: str) -> Mapping[str, Sequence[str]]:
    """Open list -> what may stand there in this language."""
    return {**_NEUTRAL, "area": _ROOMS.get(language, _NEUTRAL["area"])}
