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

LAST = {3600.0: "the last hour", 86_400.0: "the last day"}

TEXTS = {
    "named": "{value}, {label}",  # a value that has a label: 6011, cash
    "this": "this {noun}",
    "events_like_it": "events like it",
    "missing": "missing",
    "ago": "{duration} ago",
    "range": "{low} to {high}",
    "up_to": "up to {high}",
    # What is usual.
    "usually": "{whose} usually {range}",
    "usually_here": "{meeting} usually {range}",
    "and": "{first}, {second}",
    # Reasons that are fields.
    "value": "{label} {value}",
    "value_usual": "{label} {value}; {usual}",
    "value_inside": "{label} {value} is rare only in such an event; {usual}",
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
    "first_contact": "first contact {meeting} {ago}, {events} before this one",
    "again": "again {meeting} after {duration}, known to {this} for {known}",
    "known_contact": "{label} {value} is rare in such an event; known to {this} for {known}, last {ago}",
    "amount_there": "{amount} is rare {meeting}; usual there is {range}",
    "event": "1 event",
    "events": "{n} events",
    "entity_missing": "no {noun}",
    # Reasons about the main entity.
    "no_history": "first event of {this}",
    "young": "{this} is new: first seen {ago}, {events} before this one",
    "seldom": "{this} is seldom seen: {events} lately",
    "busier": "{this} is busier than others with such events: about {rate}",
    "calmer": "{this} is less busy than others with such events: about {rate}",
    "a_day": "{events} a day",
    "a_week": "{events} a week",
    "a_year": "{events} a year",
    "busy": "{events} in {window}; {rate} is usual for {this}",
    "hot_hours": "{this} had other unusual events in the last hours",
    "hot_days": "{this} had other unusual events in the last days",
    "frauds": "{share} of what is known of {this} was fraud, the latest {ago}",
    # Times and places.
    "hour": "at {time} UTC; such events come around {usual}",
    "hour_own": "at {time} UTC; about {share} of {whose} events come around this hour",
    "whose": "this {noun}’s",
    "place": "{label} {value}: {where}",
    "place_usual": "a usual place of {this}",
    "place_unknown": "no earlier place of {this} is known",
    "far": "{distance} from the usual places of {this}",
    "move": "{distance} in {duration} since the last event of {this}",
    "move_fast": "{distance} in {duration} since the last event of {this}, {speed}",
    "elsewhere": "{this} was {distance} away {duration} before",
    "km": "{n} km",
    "km_h": "{n} km/h",
    "percent": "{n} %",
    "below_percent": "less than 1 %",
    # Other facts.
    "last": "the last {duration}",
    "window": "{events} in {window}{sum}",
    "window_sum": ", {sum} in all, the largest {largest}",
    "window_usual": "{window}; {this} usually has {usual}",
    "usual_sum": "{rate}, {range} each",
    "small_then_large": "{small} {duration} before {large}; {usual}",
    "since_last": "{duration} after the last event of {this}",
    "since_last_amount": "{duration} after the last event of {this}, {amount}",
    "long_silence": "first event of {this} for {duration}; {rate} is usual",
    "frauds_there": "confirmed fraud {meeting}, the latest {ago}; {share} of what is known of it was fraud",
    "frauds_own": "confirmed fraud of {this}, the latest {ago}",
    "answered_legitimate": "you said legitimate on {date}: known behaviour of {this}",
    "answered_fraud": "you said fraud of {this} on {date}",
    "near_fraud": "like the confirmed fraud at offset {offset}",
    "shared_one": "1 other {main} with alerts {meeting} in the last {days}",
    "shared": "{n} other {mains} with alerts {meeting} in the last {days}",
    "plural": "{noun}s",
    # Where no single thing is the reason.
    "many": "many values are a little unusual, none of them much: {names}",
    "combination": "no single value stands out; it is their combination that is rare",
    "random": "chosen at random, to find out what the score misses; nothing about it stands out",
}
