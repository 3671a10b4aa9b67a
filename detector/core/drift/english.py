"""All sentences about drift in English.

To translate them, copy this file, translate the texts, and import the copy in `detector.core.drift.words`.
Names in braces are filled in. Nothing here is code.
"""

DRIFT = "{what} since {time} ({index}){weight}"
SLOWLY = "{what}, slowly over {days} days ({index}){weight}"
INDEX = "PSI {psi}"
YOUNG = "{index}, reference of {days}"
DAYS = ("less than a day", "one day", "two days", "three days", "four days", "five days", "six days")
WEIGHT = ", {share} of the change in alerts"
TODAY, ANOTHER_DAY = "{hour}:{minute} UTC", "{day} {month} {hour}:{minute} UTC"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip

MISSING = "{field} is missing in {now} of events instead of {usual}"
PRESENT = "{field} is missing in only {now} of events instead of {usual}"
UNSEEN = "{now} of events have a {field} that was never seen before, instead of {usual}"
REPEATED = "{field} is stuck: it is what it was in the event before in {now} of events instead of {usual}"
STUCK_BETWEEN = "{field} is between {low} and {high} in {now} of events instead of {usual}"
STUCK_BELOW = "{field} is at most {high} in {now} of events instead of {usual}"
STUCK_ABOVE = "{field} is above {low} in {now} of events instead of {usual}"
DOUBLED = "{field} has doubled"
HALVED = "{field} has halved"
LARGER = "{field} is {factor} times as large"
SMALLER = "{field} has fallen to {share} of its usual size"
MORE_OFTEN = "one usual value of {field} comes in {now} of events instead of {usual}"
LESS_OFTEN = "one usual value of {field} comes in only {now} of events instead of {usual}"
RARE_ONES = "rare values of {field} come in {now} of events instead of {usual}"
MORE_EVENTS = "{factor} times as many events come as usual at these hours"
OTHER_HOURS = "{now} of a day's events come between {start} and {end} UTC instead of {usual}"
FEWER_EVENTS = "only {share} of the usual events come at these hours"
NEW_KEYS = "{now} of events have a {entity} that was never seen before, instead of {usual}"
NEW_CONTACTS = "in {now} of events the {entity} is new to the {main}, instead of {usual}"
SCORES_UP = "scores have risen by {step} on average"
SCORES_DOWN = "scores have fallen by {step} on average"
NO_LABELS = "no label has come, while {expected} are usual for as long"
EMBEDDING = "events have moved by {shift} spreads on average in the embedding"
