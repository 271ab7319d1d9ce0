# What must run: foundations -> runs -> chapters -> book. The store (posttrain.store) says what is there, by identity and not by time
# stamps; only what is missing becomes a job, so nothing that is finished can be trained again or deleted from here.
#   snakemake book --cores 2 --config profile=cpu            stored runs are read, missing ones trained
#   snakemake book --cores 2 --config profile=smoke fresh=1  everything anew, under build/reproduce/smoke
# `make` adds the options that keep the output short (tools/snakemake_logger_plugin_calm.py).
import json
import re
import sys

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError

from posttrain import store
from posttrain.config import ROOT, ConfigError, load
from posttrain.store import status

sys.path.insert(0, str(ROOT / "tools"))
import snakemake_logger_plugin_calm as calm

shell.prefix("set -euo pipefail; export TQDM_DISABLE=1; ")
NAME = config.get("profile", "cpu")
FRESH = str(config.get("fresh") or 0).lower() not in ("0", "false")
STALE = str(config.get("stale", "")) == "show"  # superseded and edited results are shown, and marked
REMAKE = bool(int(config.get("remake", 0)))  # superseded runs are made again
MAIN = workflow.is_main_process
try:
    PROFILE, PUBLISHED = load(str(NAME), fresh=FRESH), load("cpu")
except ConfigError as error:
    raise WorkflowError(str(error))
if MAIN and not STALE and (problems := status.obstacles(PROFILE, REMAKE)):
    raise WorkflowError("\n".join(problems))

BASE = PROFILE.root.relative_to(ROOT)
BUILD, SITE, FIGURES = BASE / "build", BASE / "build/site", BASE / "figures"
HTML = f"{BASE}/book/_build/html/index.html"
CHAPTERS = {  # the figures that each draws (20 and 21 are tables)
    "general-points": ("fig02", "fig03", "fig12", "ext"), "navigation": ("fig04", "fig14"), "foundation": ("ext",),
    "rule-generalization": ("fig05", "fig06", "ext"), "navigation-rules": ("fig01", "fig21", "ext"), "pictures": ("fig11", "fig13", "ext"),
    "visual-generalization": ("fig07", "ext"), "navigation-pictures": ("fig18", "ext"), "recognition": ("fig08", "ext"),
    "rl-without-sft": ("fig09", "fig20", "ext"), "verification-steps": ("fig10", "ext"), "flawed-demonstrations": ("fig15",), "rates-and-parts": ("fig16", "fig17", "ext"),
    "over-trained-sft": ("fig19",), "real-language-model": ("ext",), "what-the-foundation-read": ("ext",),
    "gallery": (), "before-the-runs": (), "method": ("ext",), "every-hand": ("ext",), "every-route": ("ext",), "new-task": ()}
NEEDS = {  # the studies that a chapter cannot do without; where the profile lacks one, a page says so in its place
    "rule-generalization": "gp-l", "every-hand": "gp-l", "new-task": "gp-l", "rl-without-sft": "gp-l-base gp-l-start", "navigation-rules": "virl-l", "every-route": "virl-l",
    "visual-generalization": "gp-vl", "recognition": "gp-vl", "navigation-pictures": "virl-vl", "what-the-foundation-read": "virl-l-h98-i50 virl-l-h98-rates",
    "verification-steps": "gp-l-steps", "flawed-demonstrations": "gp-l-errors", "rates-and-parts": "gp-vl-sft gp-vl-rl",
    "over-trained-sft": "gp-l-late virl-l-late virl-vl-late"}
HEADLINE = ("gp-l", "gp-vl", "virl-l", "virl-vl")  # of these also every set of cases that the published profile judges


def judged(profile, study):
    return {name for arm in profile.studies[study].arms.values() for name in arm.census.sets} if study in HEADLINE else set()


THERE = [study for study in PROFILE.studies if study not in HEADLINE or judged(PROFILE, study) >= judged(PUBLISHED, study)]
ABSENT = sorted(chapter for chapter, needed in NEEDS.items() if not set(THERE) >= set(needed.split()))
READ_TOO = ("cpu", "gpu", "second", "smollm", "tuning")  # profiles of which chapters tell, whatever the book's is
LONG = ("rule-generalization", "new-task", "rates-and-parts", "method", "navigation-pictures", "pictures", "foundation", "navigation")  # begun first
FIGURE = config.get("figure", "")
WANTED = [chapter for chapter, figures in CHAPTERS.items() if chapter not in ABSENT and (not FIGURE or FIGURE in figures)]
if not WANTED:
    needed = {study for chapter in ABSENT if FIGURE in CHAPTERS[chapter] for study in NEEDS[chapter].split()} - set(THERE)
    there = sorted({figure for chapter, figures in CHAPTERS.items() if chapter not in ABSENT for figure in figures})
    lacks = f"profile {NAME} has no {FIGURE}: it needs {', '.join(sorted(needed))}, with all of its sets"
    raise WorkflowError(f"{lacks if needed else f'no chapter draws {FIGURE!r}'}: figures are {', '.join(there)}")


def reads(chapter):
    """The profile's studies that a chapter's code names: for its figure alone no others are carried out."""
    cells = json.loads((ROOT / f"notebooks/{chapter}.ipynb").read_text())["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    named = tuple(re.findall(r'"([\w-]+)"', code))
    prefixes = tuple(name for name in named if name.endswith("-h"))  # levels of what the foundation read
    return {study for study in PROFILE.studies if "verdicts(book)" in code or study in named or study.startswith(prefixes)}


if MAIN:  # one build at a time; a killed one holds nothing
    (ROOT / BUILD).mkdir(parents=True, exist_ok=True)
    LOCK = FileLock(ROOT / BUILD / "book.lock")
    try:
        LOCK.acquire(timeout=0)
    except Timeout:
        print("another build of this profile is going on; waiting for it to end", file=sys.stderr, flush=True)
        LOCK.acquire()

# Jobs on a cluster read this file again, when some of the runs are there already: they must know all of them.
READ = [reads(chapter) for chapter in WANTED] if FIGURE else [set(PROFILE.studies)]
RUNS = [run for run in PROFILE.runs() if any(run.study in studies for studies in READ)]
TO_TRAIN = {run.identity: run for run in RUNS if not MAIN or not status.there(PROFILE, run, STALE)}


def below(runs):
    """Identities of the foundations that runs start from."""
    return {i for run in runs if run.foundation for i in (run.model_identity, getattr(getattr(run.model, "text", None), "identity", None))}


BELOW, USED, EVERY = below(TO_TRAIN.values()), below(RUNS), not FIGURE or not all(READ)  # a chapter of no study is of foundations
TO_PRETRAIN = {identity: (name, seed) for name, seed, identity in PROFILE.foundation_list() if (EVERY or identity in USED)
               and (not MAIN or not (STALE and not TO_TRAIN or store.find_foundation(PROFILE, name, seed, weights=identity in BELOW)))}
STAMPS = BUILD / "stamps"
if MAIN:
    for identity in {**TO_TRAIN, **TO_PRETRAIN}:  # what was removed since is to be made again
        (ROOT / STAMPS / identity).unlink(missing_ok=True)
calm.CORES = workflow.nodes or workflow.cores  # on a cluster, jobs at once: there are no cores to speak of
calm.EXPECTED.update(chapter=6, html=15, foundation=1500)
if TO_TRAIN:
    minutes = [status.status(PROFILE, run).minutes or 10 for run in TO_TRAIN.values()]
    calm.EXPECTED["train"] = 60 * sum(minutes) / len(minutes)


def stamps(*identities):
    return [f"{STAMPS}/{identity}" for identity in identities if identity in TO_TRAIN or identity in TO_PRETRAIN]


def before_foundation(wildcards):
    name, seed = TO_PRETRAIN[wildcards.identity]
    text = getattr(PROFILE.foundations[name], "language", None)  # a tower stands before a text foundation
    return stamps(PROFILE.foundation(text, seed).identity) if text else []


def before_run(wildcards):
    run = TO_TRAIN[wildcards.identity]
    return stamps(run.model_identity, *([run.parent.identity] if run.parent else []))


rule book:
    input: HTML

rule figures:
    input: expand(f"{SITE}/notebooks/{{chapter}}.ipynb", chapter=WANTED)

rule results:
    input: stamps(*TO_PRETRAIN, *TO_TRAIN)

rule foundation:
    message: "foundation {params.name}-{params.seed}"
    priority: 10
    input: before_foundation
    output: touch(f"{STAMPS}/{{identity}}")
    wildcard_constraints: identity="|".join(TO_PRETRAIN) or "none"
    params:
        name=lambda w: TO_PRETRAIN[w.identity][0],
        seed=lambda w: TO_PRETRAIN[w.identity][1],
        fresh="--fresh" if FRESH else "",
    shell: "posttrain pretrain --profile {NAME} {params.fresh} --foundation {params.name} --seed {params.seed}"

rule train:
    message: "run {params.run}"
    input: before_run
    output: touch(f"{STAMPS}/{{identity}}")
    wildcard_constraints: identity="|".join(TO_TRAIN) or "none"
    params:
        run=lambda w: TO_TRAIN[w.identity].name,
        fresh="--fresh" if FRESH else "",
    shell: "posttrain train --profile {NAME} {params.fresh} --run {params.run}"

rule chapter:
    message: 'chapter "{wildcards.chapter}"'
    input:
        source="notebooks/{chapter}.ipynb",
        profiles=[f"notebooks/profiles/{name}.yaml" for name in sorted({NAME, PROFILE.extends or NAME, *READ_TOO})],
        library=[str(path.relative_to(ROOT)) for path in sorted((ROOT / "lib").rglob("*.py"))],
        tables=[str(path.relative_to(ROOT)) for path in sorted((ROOT / "data").glob("*.*"))],  # what is tested, published, practised
        trained=stamps(*TO_PRETRAIN, *TO_TRAIN),
    output: f"{SITE}/notebooks/{{chapter}}.ipynb"
    log: f"{BUILD}/logs/{{chapter}}.log"
    wildcard_constraints: chapter="|".join(CHAPTERS)
    params:
        results=status.digest(PROFILE),  # other results, other chapters
        stale="stale=show" if STALE else "",
        draft=f"{BUILD}/logs/{{chapter}}.ipynb",
    shell:
        "OMP_NUM_THREADS=1 STALE={params.stale} papermill --log-level WARNING --no-progress-bar {input.source} {params.draft} --cwd . "
        "-p profile {NAME} -p fresh {FRESH} > {log} 2>&1 && cp {params.draft} {output}"

use rule chapter as long_chapter with:
    wildcard_constraints: chapter="|".join(LONG)
    priority: 1

ruleorder: long_chapter > chapter

rule html:
    message: "pages"
    input:
        chapters=expand(f"{SITE}/notebooks/{{chapter}}.ipynb", chapter=set(CHAPTERS) - set(ABSENT)),
        book=[str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and not {"_build", "__pycache__"} & set(p.parts)],
        stage="tools/stage_book.py",
        library=rules.chapter.input.library,
    output: HTML
    log: f"{BUILD}/logs/html.log"
    params: book=f"{BASE}/book", out=f"{BASE}/book/_build", absent=" ".join(ABSENT)
    # A build that failed or was killed is begun anew (tools/stage_book.py says why). Sphinx copies styles and scripts only where a page is
    # out of date, so one always is.
    shell:
        "if [ -e {params.out}/.unfinished ]; then rm -rf {params.out}; fi; mkdir -p {params.out}; touch {params.out}/.unfinished; "
        "(python tools/stage_book.py {SITE} {FIGURES} {params.absent} && touch {SITE}/book/intro.md && "
        "jupyter-book build -q {SITE} --config book/_config.yml --toc book/_toc.yml --path-output {params.book} -W -n --keep-going) > {log} 2>&1; "
        "rm {params.out}/.unfinished"
