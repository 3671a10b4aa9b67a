"""Where and for what cards pay: cities, categories, and the merchants of one simulated world.

The cities have their real coordinates. Their sizes, and the categories' shares, usual amounts and online
shares, are our choice: round numbers of a plausible size, not estimates from data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# (name, country, latitude, longitude, size)
_CITIES = (
    ("Paris", "FR", 48.857, 2.352, 24),
    ("Lyon", "FR", 45.764, 4.836, 11),
    ("Marseille", "FR", 43.296, 5.370, 9),
    ("Toulouse", "FR", 43.605, 1.444, 7),
    ("Lille", "FR", 50.629, 3.057, 6),
    ("Bordeaux", "FR", 44.838, -0.579, 6),
    ("Nantes", "FR", 47.218, -1.554, 5),
    ("Strasbourg", "FR", 48.573, 7.752, 5),
    ("Brussels", "BE", 50.850, 4.352, 5),
    ("Geneva", "CH", 46.204, 6.143, 3),
    ("Frankfurt", "DE", 50.110, 8.682, 3),
    ("Berlin", "DE", 52.520, 13.405, 3),
    ("Milan", "IT", 45.464, 9.190, 3),
    ("Rome", "IT", 41.903, 12.496, 2),
    ("Barcelona", "ES", 41.385, 2.173, 3),
    ("Madrid", "ES", 40.417, -3.704, 2),
    ("Lisbon", "PT", 38.722, -9.139, 1),
    ("London", "GB", 51.507, -0.128, 3),
    ("Athens", "GR", 37.984, 23.728, 1),
    ("Stockholm", "SE", 59.329, 18.069, 1),
    ("New York", "US", 40.713, -74.006, 1),
    ("Miami", "US", 25.762, -80.192, 1),
    ("Bangkok", "TH", 13.756, 100.502, 1),
    ("Sao Paulo", "BR", -23.551, -46.633, 1),
)
# (name, share of all payments, usual amount, spread of its logarithm, share online)
_CATEGORIES = (
    ("groceries", 24, 32.0, 0.55, 0.05),
    ("restaurant", 14, 24.0, 0.45, 0.05),
    ("fuel", 8, 52.0, 0.30, 0.0),
    ("transport", 10, 6.0, 0.45, 0.35),
    ("cash", 6, 70.0, 0.45, 0.0),
    ("bakery", 10, 5.5, 0.40, 0.0),
    ("pharmacy", 4, 17.0, 0.50, 0.05),
    ("clothing", 5, 58.0, 0.50, 0.45),
    ("electronics", 2, 190.0, 0.60, 0.60),
    ("home", 3, 75.0, 0.60, 0.35),
    ("travel", 2, 260.0, 0.60, 0.80),
    ("entertainment", 5, 18.0, 0.40, 0.50),
    ("games", 2, 12.0, 0.50, 1.0),
    ("health", 3, 48.0, 0.45, 0.05),
    ("books", 2, 21.0, 0.40, 0.50),
    ("jewellery", 0.6, 320.0, 0.60, 0.30),
)
CITIES = tuple(city[0] for city in _CITIES)
COUNTRIES = tuple(city[1] for city in _CITIES)
CITY_PLACES: FloatArray = np.array([city[2:4] for city in _CITIES])
CITY_SIZES: FloatArray = np.array([float(city[4]) for city in _CITIES])
CATEGORIES = tuple(category[0] for category in _CATEGORIES)
SHARES: FloatArray = np.array([category[1] for category in _CATEGORIES], dtype=np.float64)
LOG_AMOUNT: FloatArray = np.log([category[2] for category in _CATEGORIES])
SPREAD: FloatArray = np.array([category[3] for category in _CATEGORIES])
ONLINE: FloatArray = np.array([category[4] for category in _CATEGORIES])
CASH, FUEL = CATEGORIES.index("cash"), CATEGORIES.index("fuel")
ENTERTAINMENT = CATEGORIES.index("entertainment")

DAY_S = 86_400
HOUR_S = 3_600

NOWHERE = len(_CITIES)  # the city of online merchants
KM_PER_DEGREE = 111.2
CITY_SPREAD_KM = 6.0  # standard deviation of homes and merchants around the city's centre
LEAST_MERCHANTS = 3  # of each category in each city


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Merchants:
    """All m merchants, sorted by category and city."""

    category: IntArray  # (m,)
    city: IntArray  # (m,) NOWHERE: online
    place: FloatArray  # (m, 2) latitude and longitude, degrees; nan: online
    log_price: FloatArray  # (m,) log of its prices relative to its category's
    first: IntArray  # (categories, cities + 1) first merchant of each group
    count: IntArray  # (categories, cities + 1) at least LEAST_MERCHANTS

    def pick(self, rng: np.random.Generator, category: IntArray, city: IntArray) -> IntArray:
        """Pick a merchant of each category in each city, both of shape (n,); the first are more popular."""
        popularity = rng.random(len(category)) ** 2
        count = self.count[category, city]
        picked: IntArray = self.first[category, city] + (popularity * count).astype(np.int64)
        return picked


def draw_merchants(rng: np.random.Generator, wanted: int) -> Merchants:
    """Draw about `wanted` merchants, and at least LEAST_MERCHANTS of each category in each city."""
    cities = np.append(CITY_SIZES, CITY_SIZES.sum() / 4)
    share = np.outer(SHARES / SHARES.sum(), cities / cities.sum())
    count = np.maximum(np.round(wanted * share), LEAST_MERCHANTS).astype(np.int64)
    first = (np.cumsum(count) - count.ravel()).reshape(count.shape)
    group = np.repeat(np.arange(count.size), count.ravel())
    category, city = group // len(cities), group % len(cities)
    centre = np.concatenate([CITY_PLACES, np.full((1, 2), np.nan)])[city]
    return Merchants(
        category=category,
        city=city,
        place=near(rng, centre, CITY_SPREAD_KM),
        log_price=rng.normal(0.0, 0.15, len(group)),
        first=first,
        count=count,
    )


def near(rng: np.random.Generator, centre: FloatArray, spread_km: float) -> FloatArray:
    """Draw places around centres, both (n, 2) in degrees, with this standard deviation in each direction."""
    step = rng.normal(0.0, spread_km / KM_PER_DEGREE, centre.shape)
    step[:, 1] /= np.cos(np.radians(np.nan_to_num(centre[:, 0])))
    return centre + step


def distance_km(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the great-circle distances between places, both of shape (..., 2) in degrees (haversine)."""
    a, b = np.radians(a), np.radians(b)
    half = np.sin((b - a) / 2) ** 2
    across = half[..., 0] + np.cos(a[..., 0]) * np.cos(b[..., 0]) * half[..., 1]
    distances: FloatArray = 2 * 6_371.0 * np.arcsin(np.sqrt(np.clip(across, 0.0, 1.0)))
    return distances
