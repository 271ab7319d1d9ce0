"""Steps of the navigation environment and routes of the city generator per second, one process."""

from time import perf_counter

import numpy as np
from posttrain.environments import cities
from posttrain.environments.navigation import NavigationEnv, answer

STEPS, ROUTES = 20_000, 2_000


def bench_navigation(record):
    env, rates = NavigationEnv(), []
    env.reset(seed=0)
    for _ in range(3):
        start, over = perf_counter(), True
        for step in range(STEPS):
            if over:
                info = env.reset()[1]
            # Every fifth answer is wrong, so that the verifier's message and the second answer are in the measure.
            text = "no" if step % 5 == 0 and not info["attempt"] else answer(info["place"], info["sentence"])
            *_, terminated, truncated, info = env.step(text)
            over = terminated or truncated
        rates.append(STEPS / (perf_counter() - start))
    start = perf_counter()
    city, rng = cities.City("Somewhere"), np.random.default_rng(0)
    for _ in range(ROUTES):
        city.route(rng)
    routes = ROUTES / (perf_counter() - start)
    record("navigation", steps_per_second=np.median(rates), routes_per_second=routes)
    assert np.median(rates) > 20_000 and routes > 500
