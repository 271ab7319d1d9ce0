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
            # Every fifth answer is wrong, so that the verifier's message and a second answer are measured.
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


def bench_places_on_routes_met_before(record):
    """What stands around the places of a training's routes: the first time, and from then on."""
    env, seconds = NavigationEnv(vision=True), []
    for _ in range(2):
        start = perf_counter()
        for route in range(len(env.routes)):
            env.reset(seed=0, options={"route": route})
            for place in env.places:
                env._scene(place)
        seconds.append(perf_counter() - start)
    record("places", first_seconds=seconds[0], times_as_fast_again=seconds[0] / seconds[1])
    assert seconds[1] < seconds[0] / 1.5
