"""A study's tables as chapters read them, on the published runs and on a small study of chosen ends."""

import json

import numpy as np
import pytest
from posttrain.analysis import prose, study
from posttrain.environments import baselines


@pytest.fixture(scope="module")
def book():
    return study.Book("cpu")


@pytest.fixture(scope="module")
def points(book):
    return book.study("gp-vl")


@pytest.fixture(scope="module")
def walks(book):
    return book.study("virl-vl")


def test_init_is_the_first_checkpoint_of_both_arms_and_its_compute_is_theirs(points):
    assert set(points.checkpoints["arm"]) == {"Init", "SFT", "RL"}
    assert points.seeds == [0, 1, 2, 3, 4] and len(points.run_ids) == 15
    spent = {
        record["seed"]: record["spent_gflops"] * 1e9 for record in points.records if record["arm"] == "init"
    }
    start = points.at("ood", "greedy").query("step == 0")
    expected = start["seed"].map(spent).to_numpy()
    assert len(start) == 15 and start["flops"].to_numpy() == pytest.approx(expected)
    for arm in ("Init", "SFT", "RL"):
        means = points.outcomes(arm, "id", "sampled", "within").mean(1)
        assert means == pytest.approx(points.end(arm, "id", "sampled", "within").to_numpy(), abs=1e-5)
    estimates = points.estimates("ood", "greedy", "first_try")
    assert list(estimates) == ["Init", "SFT", "RL"]
    assert all(low <= estimate <= high for estimate, low, high in estimates.values())


def test_ends_are_those_of_the_last_checkpoint(toy):
    small = toy({("Init", "id"): {"first_try": 0.25}, ("SFT", "id"): {"first_try": [0.5, 0.75]}})
    assert small.end("SFT", "id", "greedy", "first_try").to_dict() == {0: 0.5, 1: 0.75}
    assert small.end("Init", "id", "greedy", "first_try").to_dict() == {0: 0.25, 1: 0.25}
    each = small.ends("id", "greedy", "first_try")
    assert list(each) == ["Init", "SFT", "RL"] and each["SFT"].to_dict() == {0: 0.5, 1: 0.75}
    assert small.end_values(["id"], ["first_try"])["sft_id_first_try_greedy"] == 0.625
    assert small.checkpoints.query("arm == 'SFT'")["flops"].max() == 7e9, "Init's 2 and its own 5 GFLOP"
    assert set(small.checkpoints["checkpoint"]) == {1, 2}


def test_curves_are_of_the_cases_that_every_checkpoint_was_asked(points, walks, toy):
    """Between the ends 80 hands of 250 were asked, and those are easier under the new rule."""
    for source, metric, set_ in ((points, "within", "ood"), (walks, "first_turns", "id")):
        every, along = source.at(set_, "sampled"), source.along(set_, "sampled")
        keys = ["arm", "seed", "step"]
        assert along[keys].equals(every[keys]) and along["flops"].equals(every["flops"])
        assert along["n"].nunique() == 1 and along["n"].max() == every["n"].min()
        fewest = every["n"] == every["n"].min()
        assert along[fewest][metric].to_numpy() == pytest.approx(every[fewest][metric].to_numpy())
        assert not np.allclose(along[~fewest][metric], every[~fewest][metric])
    hands = points.hands[(points.hands["set"] == "ood") & (points.hands["decoding"] == "sampled")]
    rl = hands[(hands["arm"] == "RL") & (hands["seed"] == 3)]
    asked = set(rl.loc[rl["step"] == sorted(rl["step"].unique())[1], "hand"])
    end = rl[(rl["step"] == rl["step"].max()) & rl["hand"].isin(asked)]["within"].mean()
    along = points.along("ood", "sampled").query("arm == 'RL' and seed == 3")
    assert along.sort_values("step")["within"].iloc[-1] == pytest.approx(end)
    small = toy({("SFT", "id"): {"first_try": 0.5}})
    assert small.along("id", "greedy").equals(small.at("id", "greedy")), "all were asked the same"


def test_hours_are_the_stored_clocks(book):
    hours = book.hours()
    each = {
        record["identity"]: record["seconds"]
        for name in book.profile.studies
        for record in book.results(name).records
    }
    assert hours["runs"] == pytest.approx(sum(each.values()) / 3600)
    first = [r["seconds"] for n in study.MAIN for r in book.results(n).records if r["seed"] == 0]
    assert sum(first) / 3600 < hours["one_seed"] < sum(first) / 3600 + 5400 * 4 / 3600
    assert hours["foundations"] > 5


def test_arms_alone_in_another_order_and_by_other_names(book):
    names = {"ppo-two": "twice", "ppo-half": "half"}
    every = book.results("gp-l-base")
    some = every.only(names)
    assert (
        list(dict.fromkeys(some.checkpoints["arm"]))
        == list(dict.fromkeys(some.hands["arm"]))
        == ["twice", "half"]
    )
    assert {record["arm"] for record in some.records} == {"twice", "half"} and some.seeds == every.seeds
    for arm, name in names.items():
        expected = every.end(arm, "id", "sampled", "within")
        assert some.end(name, "id", "sampled", "within").equals(expected)
    init = {"init": "Init", "ppo": "RL"}
    chain = book.results("virl-l-h70-i50").only(init).checkpoints
    assert chain[chain["arm"] == "Init"]["step"].nunique() == 1, "where the others start, and not before"
    assert chain[chain["arm"] == "RL"]["step"].nunique() > 1


def test_published_values_are_what_a_chapter_computes(walks, book):
    published = json.loads((book.figures / "values" / "navigation-pictures.json").read_text())
    assert walks.run_ids == published["run_ids"]
    values = walks.end_values(("id", "ood", "cities"), ("first_turns", "per_step"))
    assert values == pytest.approx({name: published[name] for name in values}, rel=1e-9)


def test_hyperparameters_are_every_setting_with_what_it_means(points, walks):
    table = points.hyperparameters().set_index("setting")
    assert table.loc["ppo.learning_rate", ["RL", "SFT"]].tolist() == ["0.001", ""]
    assert table["meaning"].str.len().min() > 10 and table.loc["seeds", "Init"] == "0, 1, 2, 3, 4"
    settings = walks.hyperparameters().set_index("setting")
    assert settings.loc["task", "RL"] == "navigation-vision" and settings.loc["steps", "Init"] == "16"
    assert settings.loc["census.revised", "SFT"] == "id, ood, cities, benchmark"
    assert settings.loc["census.verify_steps", "RL"] == "2"  # the task's, filled in
    assert settings.loc["budget_gflop", "SFT"] == "12000.0"


def test_navigation_divides_sums_as_the_paper_does(walks):
    rows = walks.hands.query("arm == 'RL' and `set` == 'ood' and decoding == 'sampled'")
    rows = rows[rows["step"] == rows.groupby("seed")["step"].transform("max")]
    per_seed = rows.groupby("seed")[["right", "answers"]].sum()
    pooled = (per_seed["right"] / per_seed["answers"]).mean()
    assert walks.estimates("ood", "sampled", "per_step")["RL"].estimate == pytest.approx(pooled)
    assert walks.end("RL", "ood", "sampled", "per_step").mean() == pytest.approx(pooled, abs=1e-5), (
        "the curves"
    )


def test_wrong_answers_by_seed_add_up_to_what_is_not_right(walks):
    table = prose.wrong_answers(walks, {"id": "held out"}).set_index("arm")
    assert list(table.columns) == ["set", "wrong turns", "wrong elsewhere", "routes done"]
    for arm in ("Init", "SFT", "RL"):
        numbers = [
            [int(n) for n in table.loc[arm, column].replace(" of ", ", ").split(", ")]
            for column in ("wrong turns", "wrong elsewhere")
        ]
        first, all_points = (
            walks.outcomes(arm, "id", "greedy", column).sum(1) for column in ("first", "points")
        )
        assert np.add(*(seeds[:-1] for seeds in numbers)).tolist() == (all_points - first).tolist()
        assert {sum(seeds[-1] for seeds in numbers)} == set(all_points), "all seeds were asked the same"


def test_policies_stand_beside_the_arms(walks, book):
    sets, columns = {"id": ("absolute", ", at home")}, {"first try": "first_try", "turns": "first_turns"}
    table = prose.beside_policies(walks, sets, columns, {"oracle": baselines.oracle})
    assert table["policy"].tolist()[::6] == ["Init, greedy", "oracle"] and len(table) == 7
    assert set(table["actions"]) == {"absolute, at home"}
    oracle = table.set_index("policy").loc["oracle"]
    assert (oracle["first try"], oracle["turns"], oracle["route"]) == ("100.0%", "", "100.0%")
    routes = prose.benchmark(walks, book.printed("fig07", "virl-vl"))
    done = [each.sum() for each in walks.outcomes("RL", "benchmark", "sampled", "within")]
    assert any(count != int(count) for count in done), "of some route one of two walks was finished"
    for seed, count in zip(walks.seeds, done):
        assert routes[f"repetition {seed + 1}"].tolist()[-1].startswith(f"{count:g} of 18 (")
    assert routes["paper (one run)"].tolist() == ["16.7%", "11.1%", "77.8%"] * 2


def test_results_that_are_not_what_they_were_are_marked(toy):
    small = toy({("SFT", "id"): {}})
    assert small.note == ""
    for record, note in zip(small.records, ("superseded results", "edited results", "edited results")):
        record["note"] = note
    again = study.Results("x", small.records, small.checkpoints, None, None)
    assert again.note == "edited results, superseded results"


def test_foundations_and_figures_of_a_profile(book):
    cards = book.foundations()
    assert set(cards) == set(book.profile.foundations) and cards["pocket-text"][0]["settings"]["seed"] == 0
    assert book.base("gp-l-base").endswith("pocket-text-0")
    assert list(book.printed("fig06", "gp-l")) == ["Init", "SFT", "RL"]


def test_a_study_without_all_three_arms_says_which_are_missing(toy):
    small = toy({("Init", "id"): {}})
    assert small.facts == {"run_ids": small.run_ids, "seeds": 2, "train_seconds": 6 * 90.0}
    records = [record for record in small.records if record["arm"] == "init"]
    with pytest.raises(ValueError, match="gp-l has no arm sft and no arm ppo: read it with Book.results"):
        study.Study("gp-l", records, small.checkpoints, small.training, small.hands)


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="unknown profile 'nowhere'"):
        study.Book("nowhere")
    with pytest.raises(ValueError, match="no study 'nothing'"):
        study.Book("cpu").study("nothing")
