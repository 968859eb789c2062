#!/usr/bin/python3
"""Writes cases.txt: expressions, zones, moments, and the next five firings, by a slow and plain calculation.

    make_cases.py            writes cases.txt beside this file; read the difference before you commit it
    make_cases.py --check    compares instead; exit code 1 when something differs

The calculation shares nothing with cron/: it walks through real time minute by minute (second by second when there is a
field for seconds), asks Python's zoneinfo what the clock on the wall shows, and compares that with every field, item by
item. Days and hours without a shift of the clocks on which nothing can match are skipped, nothing else. The moments lie in the past,
so that a new edition of the zone database does not change them.
"""
import calendar
import datetime
import difflib
import functools
import pathlib
import sys
import zoneinfo

HERE = pathlib.Path(__file__).resolve().parent
UTC = datetime.timezone.utc
FIRINGS = 5
YEARS = 160

MONTHS = tuple("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split())
DAYS = tuple("SUN MON TUE WED THU FRI SAT".split())
SHORTHANDS = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
              "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}


def number(text, names=(), first=0):
    return names.index(text.upper()) + first if text.upper() in names else int(text)


def item_matches(item, value, low, high, names=(), first=0):
    base, _, step = item.partition("/")
    if base == "*":
        start, end = low, high
    elif "-" in base:
        start, end = (number(part, names, first) for part in base.split("-"))
    else:
        start = number(base, names, first)
        end = high if step else start
    return value in range(start, end + 1, int(step or 1))


@functools.cache
def matches(field, value, *range_and_names):
    return any(item_matches(item, value, *range_and_names) for item in field.split(","))


@functools.cache
def month_day_matches(field, date):
    last = calendar.monthrange(date.year, date.month)[1]
    for item in field.split(","):
        if item == "?":
            return True
        if item.upper().startswith("L"):
            if date.day == last - int(item[2:] or 0):
                return True
        elif item_matches(item, date.day, 1, 31):
            return True
    return False


@functools.cache
def week_day_matches(field, date):
    today = date.isoweekday() % 7
    last = calendar.monthrange(date.year, date.month)[1]
    for item in field.split(","):
        if item == "?":
            return True
        if "#" in item:
            day, nth = item.split("#")
            if number(day, DAYS) % 7 == today and (date.day + 6) // 7 == int(nth):
                return True
        elif item.upper().endswith("L"):
            if number(item[:-1], DAYS) % 7 == today and date.day + 7 > last:
                return True
        # Sunday has two numbers; ranges up to it end with 7. Steps without an end stop at Saturday.
        elif item_matches(item.upper().replace("-SUN", "-7"), today, 0, 6, DAYS):
            return True
        elif today == 0 and "*" not in item and not ("/" in item and "-" not in item) and \
                item_matches(item.upper().replace("-SUN", "-7"), 7, 0, 6, DAYS):
            return True
    return False


class Expression:
    def __init__(self, text):
        fields = SHORTHANDS.get(text.lower(), text).split()
        self.by_second = len(fields) == 6
        self.second = fields.pop(0) if self.by_second else "0"
        self.minute, self.hour, self.month_day, self.month, self.week_day = fields
        self.every_hour = all(matches(self.hour, hour, 0, 23) for hour in range(24))

    def on_day(self, date):
        if not matches(self.month, date.month, 1, 12, MONTHS, 1):
            return False
        by_month, by_week = month_day_matches(self.month_day, date), week_day_matches(self.week_day, date)
        restricted = [field[0] not in "*?" for field in (self.month_day, self.week_day)]
        return by_month or by_week if all(restricted) else by_month and by_week

    def at(self, wall):
        return self.on_day(wall.date()) and matches(self.hour, wall.hour, 0, 23) and \
            matches(self.minute, wall.minute, 0, 59) and matches(self.second, wall.second, 0, 59)


def fires(expression, before, now, step):
    """`before` and `now`: what the wall shows a step earlier, and now."""
    shown = now.replace(tzinfo=None, fold=0)
    if expression.every_hour:
        return expression.at(shown)
    if now.fold == 0 and expression.at(shown):
        return True
    skipped = before.replace(tzinfo=None, fold=0) + step
    while skipped < shown:  # a gap has just ended
        if expression.at(skipped):
            return True
        skipped += step
    return False


def quiet(moment, span, zone, matches_wall):
    """No shift of the clocks around, and nothing matches a span before, now, or a span later."""
    around = [(moment + offset * span).astimezone(zone) for offset in (-1, 0, 1)]
    return len({wall.utcoffset() for wall in around}) == 1 and not any(map(matches_wall, around))


def next_firings(text, zone, start):
    expression = Expression(text)
    step = datetime.timedelta(seconds=1 if expression.by_second else 60)
    moment = start.replace(second=start.second if expression.by_second else 0, microsecond=0) + step
    day, hour = datetime.timedelta(days=1), datetime.timedelta(hours=1)
    found = []
    while len(found) < FIRINGS and moment < start + YEARS * 366 * day:
        full_hour = moment.minute == 0 and moment.second == 0  # looked at only then, as it takes longer than a step
        if full_hour and quiet(moment, day, zone, lambda wall: expression.on_day(wall.date())):
            moment += day
        elif full_hour and quiet(moment, hour, zone, lambda wall: matches(expression.hour, wall.hour, 0, 23)):
            moment += hour
        else:
            if fires(expression, (moment - step).astimezone(zone), moment.astimezone(zone), step):
                found.append(moment)
            moment += step
    return found


def every(period, start, anchor):
    n = max(1, (start - anchor) // period + 1)
    return [anchor + (n + i) * period for i in range(FIRINGS)]


def parse_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def to_text(moment):
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{moment.microsecond // 1000:03}" if moment.microsecond else "") + "Z"


# @every counts from the anchor of its line; other lines have none.
PERIODS = {"@every 90s": 90, "@every 1h30m": 5400, "@every 1s": 1, "@every 1500ms": 1.5, "@EVERY 24h": 86400,
           "@every 7m": 420}


def line_of(case):
    text, zone, start, anchor = (part.strip() for part in (case.split("|") + [""])[:4])
    if text in PERIODS:
        firings = every(datetime.timedelta(seconds=PERIODS[text]), parse_time(start), parse_time(anchor))
    else:
        firings = next_firings(text, zoneinfo.ZoneInfo(zone), parse_time(start))
    return " | ".join([text, zone, start, anchor or "-", " ".join(map(to_text, firings))])


def main():
    out = ["# Written by make_cases.py: expression | zone | from | anchor | next five"]
    for line in (HERE / "cases.in").read_text(encoding="utf-8").splitlines():
        out.append(line if not line or line.startswith("#") else line_of(line))
    text = "\n".join(out) + "\n"
    target = HERE / "cases.txt"
    if "--check" not in sys.argv:
        target.write_text(text, encoding="utf-8")
        return 0
    there = target.read_text(encoding="utf-8")
    sys.stdout.writelines(difflib.unified_diff(there.splitlines(True), text.splitlines(True), "cases.txt", "calculated"))
    return int(there != text)


if __name__ == "__main__":
    sys.exit(main())
