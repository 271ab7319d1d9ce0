"""Pictures per second at pocket size, one core."""

from time import perf_counter

import numpy as np
from posttrain.environments import cities
from posttrain.rendering import cards, streets


def bench_rendering(record):
    rng, styles = np.random.default_rng(0), [cards.Style.of(seed) for seed in range(8)]
    hands = [
        (
            [cards.RANKS[i] for i in rng.integers(13, size=4)],
            [cards.SUITS[i] for i in rng.integers(4, size=4)],
        )
        for _ in range(2000)
    ]
    scenes = [
        cities.city(name).around(point)
        for name in cities.SPLITS
        for point in list(cities.city(name).points.values())[:20]
    ]
    rates = {"hands": [], "grids": []}
    for _ in range(4):  # the first turn draws every card once, for all that follow
        start = perf_counter()
        for i, (ranks, suits) in enumerate(hands):
            cards.draw(ranks, suits, cards.POCKET, styles[i % len(styles)])
        rates["hands"].append(len(hands) / (perf_counter() - start))
        start = perf_counter()
        for i, scene in enumerate(scenes):
            streets.draw(scene, 37.0 * i)
        rates["grids"].append(len(scenes) / (perf_counter() - start))
    hands_rate, grids_rate = (np.median(rates[name][1:]) for name in ("hands", "grids"))
    record("rendering", hands_per_second=hands_rate, grids_per_second=grids_rate)
    assert hands_rate >= 1000 and grids_rate >= 300
