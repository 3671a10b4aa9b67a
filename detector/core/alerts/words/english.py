"""All texts of an alert's reasons and facts in English.

To translate them, copy this file, translate the texts, and import the copy in `detector.core.alerts.words`.
Names in braces are filled in. Nothing here is code.
"""

THOUSANDS, DECIMAL = ",", "."

# Units of time, the largest first: seconds, and the text for one and for several. A time is said in the
# largest unit of which there are two.
DURATIONS = (
    (365.25 * 86_400.0, "{n} year", "{n} years"),
    (30.4375 * 86_400.0, "{n} month", "{n} months"),
    (86_400.0, "{n} day", "{n} days"),
    (3_600.0, "{n} hour", "{n} hours"),
    (60.0, "{n} minute", "{n} minutes"),
    (1.0, "{n} second", "{n} seconds"),
)
AN_INSTANT = "less than a second"

DATE = "{day} {month} {year}"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip

# Words at the end of a name that do not belong to the noun: customer_id is a customer.
NO_NOUNS = ("id", "ids", "key", "no", "nr", "num", "number", "token", "hash", "ref", "reference", "uuid")
# Short forms in names.
NOUNS = {
    "acct": "account",
    "acc": "account",
    "addr": "address",
    "amt": "amount",
    "atm": "ATM",
    "bene": "beneficiary",
    "cat": "category",
    "cc": "card",
    "cust": "customer",
    "dest": "destination",
    "email": "e-mail",
    "iban": "IBAN",
    "imei": "IMEI",
    "ip": "IP address",
    "mcc": "category",
    "merch": "merchant",
    "msisdn": "phone number",
    "orig": "origin",
    "pan": "card",
    "pos": "POS",
    "qty": "quantity",
    "term": "terminal",
    "trx": "transaction",
    "tx": "transaction",
    "txn": "transaction",
    "usr": "user",
}
# How one meets a thing of this kind; others: `WITH`.
WITH = "with {noun} {value}"
MEETING = {
    "in {noun} {value}": ("category", "city", "country", "region", "state", "currency", "area", "zone"),
    "at {noun} {value}": ("merchant", "terminal", "shop", "store", "ATM", "POS", "branch", "acceptor"),
    "to {noun} {value}": ("beneficiary", "payee", "recipient", "counterparty", "destination", "creditor"),
    "on {noun} {value}": ("device", "IP address", "channel", "phone number"),
}

# Plurals by the end of the noun, the first that fits.
PLURALS = (("ay", "ays"), ("ey", "eys"), ("y", "ies"), ("ss", "sses"), ("", "s"))

LAST = {3600.0: "the last hour", 86_400.0: "the last day"}

TEXTS = {
    "named": "{value}, {label}",  # a value that has a label: 6011, cash
    "this": "this {noun}",
    "all_events": "events",
    "missing": "missing",
    "ago": "{duration} ago",
    "range": "{low} to {high}",
    "up_to": "up to {high}",
    # What is usual.
    "usually": "{whose} usually {range}",
    "usually_here": "{meeting} usually {range}",
    "so_far": "{whose} so far {range}",
    "and": "{first}, {second}",
    "last_and": "{first} and {second}",
    # Reasons that are fields.
    "value": "{label} {value}",
    "value_usual": "{label} {value}; {usual}",
    "value_inside": "{label} {value} is usual by itself; {usual}",
    "value_missing": "{label} is missing",
    "value_missing_usual": "{label} is missing; {usual}",
    "value_unusual": "{label} {value}, which is rare here",
    "hidden": "{label} is unusual; its value is not shown",
    "as_usual": "{label} {value}; {expected} is usual for {whose}",
    "text": "{label} “{value}” reads unlike what is usual here",
    "rare": "{label} {value}, which about 1 of {events} events has",
    "never": "{label} {value}, never seen before",
    "seen": "{label} {value}, last seen {ago}",
    # Reasons and facts that are contacts of the main entity.
    "first_time": "first time {meeting} for {this}",
    "first_time_ever": "first time {meeting} for anybody",
    "first_time_young": "first time {meeting} for {this}; others were first seen there {ago}",
    "one_of": "{contact}; {this} meets a new one in 1 of {events} events",
    "one_of_often": "{contact}, which is common for it",
    "first_times": "first time for {this}: {meetings}; it meets a new {noun} in 1 of {events} events",
    "ever": " (never seen with anybody)",
    "first_contact": "first time {meeting} was {ago}, {events} before this one",
    "again": "again {meeting} after {duration}",
    "seldom_there": "{label} {value} is seldom for {this}: about 1 of {events} events",
    "known_there": "{label} {value} is usual for {this} by itself, known for {known}",
    "amount_there": "{amount} is rare {meeting}; usual there is {range}",
    "event": "1 event",
    "events": "{n} events",
    "events_of": "{events} of {amounts}",
    "entity_missing": "no {noun}",
    # Reasons about the main entity.
    "no_history": "first event of {this}",
    "young": "{this} is new: first seen {ago}, before this one {events}",
    "seldom": "{this} is seldom seen: {events} lately",
    "pace": "{this} has about {rate}; {mains} with such events usually have {usual}",
    "a_day": "{events} a day",
    "a_week": "{events} a week",
    "a_year": "{events} a year",
    "busy": "{events} in {window}; {this} usually has {rate}",
    "busy_there": "{noun} {value} is busy: {events} in {window}, usually {rate}",
    "hot_hours": "earlier events of {this} were a little unusual in the last hours",
    "hot_days": "earlier events of {this} were a little unusual in the last days",
    "hot_there_hours": "other events {meeting} were unusual in the last hours",
    "hot_there_days": "other events {meeting} were unusual in the last days",
    "earlier": "earlier unusual events of {this}: {list}",
    "earlier_more": "{n} in the last {days}{sum}, of these {list}",
    "earlier_none": "{n} in the last {days}{sum}",
    "in_all": ", {sum} in all",
    "earlier_one": "{amount} {duration} before ({alerted})",
    "earlier_nothing": "one {duration} before ({alerted})",
    "alerted": "alerted",
    "alerted_fraud": "alerted, answered as fraud",
    "alerted_legitimate": "alerted, answered as legitimate",
    "alerted_unanswered": "alerted, not answered yet",
    "held_back": "held back",
    "not_alerted": "not alerted",
    "frauds": "{share} of what is known of {this} was fraud, the latest {ago}",
    # Times and places.
    "hour": "at {time} UTC; such events come around {usual}",
    "hour_own": "at {time} UTC; {share} of {whose} events come around this hour",
    "whose": "this {noun}’s",
    "place_usual": "{label}: a usual place of {this}",
    "place_unknown": "{label}: no earlier place of {this} is known",
    "far": "{distance} from the usual places of {this}",
    "move": "{distance} in {duration} since the last event of {this}",
    "move_fast": "{distance} in {duration} since the last event of {this}, {speed}",
    "move_impossible": "{distance} in {duration} since the last event of {this}: faster than anybody travels",
    "elsewhere": "{this} was {distance} away {duration} before",
    "km": "{n} km",
    "km_h": "{n} km/h",
    "percent": "{n} %",
    "below_percent": "less than 1 %",
    # Other facts.
    "last": "the last {duration}",
    "window": "{events} in {window}",
    "window_sum": "{events} in {window}, {sum} in all, the largest {largest}",
    "window_dear": "{sum} in {window} ({events}, the largest {largest})",
    "window_usual": "{window}; {this} usually has {rate}",
    "window_usual_sum": "{window}; {this} usually has {rate}, about {sum} in all",
    "small_then_large": "a small amount before a large one: {small}, {duration} later {large}; {usual}",
    "small_alone": "a small amount by itself is weak evidence of fraud",
    "small_several": "stolen cards and accounts are tried out with small amounts: {events} of {amount} "
    "or less in {window}",
    "small_first": "stolen cards and accounts are tried out with small amounts, here at a first contact",
    "since_last": "{duration} after the last event of {this}",
    "since_last_amount": "{duration} after the last event of {this}, {amount}",
    "since_last_alerted": "{since} (alerted)",
    "own_amount": "{label} {value} is usual for {this}: {range}",
    "long_silence": "first event of {this} for {duration}; {rate} is usual",
    "frauds_there": "confirmed fraud {meeting}, the latest {ago}; {share} of what is known of it was fraud",
    "frauds_own": "confirmed fraud of {this}, the latest {ago}",
    "answered_legitimate": "you said legitimate on {date} of an earlier event of {this}",
    "answered_fraud": "you said fraud on {date} of an earlier event of {this}",
    "near_fraud": "like a confirmed fraud",
    "shared_one": "1 other {main} was alerted {meeting} in the last {days}, {ago}",
    "shared": "{n} other {mains} were alerted {meeting} in the last {days}, the latest {ago}",
    "shared_usual": "{shared}; no more than chance explains there",
    # Why an alert is that severe.
    "severity": "{severity}; about 1 event in {n} is as unusual, more so than {share} of the last alerts; "
    "mainly for {parts}",
    "all_of": "all",
    "hardly_any_of": "hardly any",
    "severity_highest": "severity {severity}: among the most unusual {band} of alerts",
    "severity_lowest": "severity {severity}: among the least unusual {band} of alerts, whatever the amount",
    "severity_raised": "severity {severity}, raised from {fitting}: few alerts were that severe lately",
    "severity_lowered": "severity {severity}, lowered from {fitting}: many alerts were that severe lately",
    "severity_random": "severity {severity}: chosen at random, not for its score",
    "part_value": "{label}",
    "part_contact": "{label}",
    "part_place": "the place",
    "part_hour": "the time of day",
    "part_activity": "how often {this} is seen",
    "part_heat": "earlier unusual events of {this}",
    "part_combination": "{label}",
    "together": "{parts} together",
    "with_rest": "how {parts} goes with the rest",
    "part_random": "nothing",
    "the": "the {noun}",
    # Headline, and where the evidence lies.
    "one": "{noun} {value}",
    "wave": "{noun} {value} ({main})",
    "nobody": "an event without an entity",
    "at_risk": "{who}, {amount} at risk",
    "at_risk_earlier": "{who}, {amount} at risk, {sum} with {events} before it",
    "unusual_one": "1 unusual event",
    "unusual_events": "{n} unusual events",
    # The other entities of the event.
    "met": "{one} ({known})",
    "met_new": "new to {this}, seen with others before",
    "met_never": "never seen before",
    "met_today": "first met by {this} {ago}",
    "met_most": "the usual one of {this}, known for {known}",
    "met_known": "known to {this} for {known}",
    "met_own": "{known}, used by few others",
    # Where no single thing is the reason.
    "many": "many values are a little unusual, none of them much: {names}",
    "combination": "no single value stands out; it is their combination that is rare",
    "joint_one": "{parts}: usual by itself, rare together with the rest of this event",
    "joint_two": "{parts}: neither is unusual by itself, together they are rare",
    "joint": "{parts}: none of these is unusual by itself, together they are rare",
    "after_heat": "soon after unusual events of {this}",
    "with_rate": "{this} with {rate}",
    "at_this_place": "at this place",
    "so_young": "so little history",
    "at_hour": "at {time} UTC",
    "random": "chosen at random, to find out what the score misses; nothing about it stands out",
}
