# What must run: foundations -> runs -> chapters -> book. Identities decide (posttrain.runs), not time stamps, hence `ancient`.
#   snakemake book --cores 2 --config profile=cpu            stored runs are read, missing ones trained
#   snakemake book --cores 2 --config profile=smoke fresh=1  everything anew, under build/reproduce/smoke
from posttrain import runs

NAME = config.get("profile", "cpu")
FRESH = bool(config.get("fresh", False))
PROFILE = runs.profile(NAME, fresh=FRESH)
DEVICE = PROFILE.settings.get("device", "cpu")
RUNS = {run.id: run for run in PROFILE.runs()}
BASE = PROFILE.root.relative_to(runs.ROOT)
BUILD = BASE / "build"
SITE = BUILD / "site"
MODELS, RESULTS, FIGURES = (BASE / f"{part}" for part in ("data/models", "data/results", "figures"))
HTML = "book/_build/html/index.html" if PROFILE.root == runs.ROOT else f"{BASE}/book/_build/html/index.html"
CHAPTERS = {"general-points": ("fig02", "fig03", "fig12"), "navigation": ("fig04", "fig14"), "foundation": ("ext",), "rule-generalization": ("fig05", "fig06", "ext"),
            "navigation-rules": ("fig01", "ext"), "pictures": ("fig11", "fig13", "ext"), "visual-generalization": ("fig07", "ext"),
            "navigation-pictures": ("fig18", "ext"), "recognition": ("fig08", "ext"),
            "rl-without-sft": ("fig09",), "gallery": ()}
LONG = "rule-generalization|navigation-pictures|rl-without-sft|pictures|visual-generalization"  # begun first, so that no core waits for the last one
WANTED = [c for c, figures in CHAPTERS.items() if config.get("figure", "") == "" or config["figure"] in figures]
LIBRARY = [str(p.relative_to(runs.ROOT)) for p in sorted(runs.LIBRARY.rglob("*.py"))]
BOOK = [str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and "_build" not in p.parts and "__pycache__" not in p.parts]

if config.get("figure") and not WANTED:
    raise ValueError(f"no chapter draws {config['figure']!r}: figures are {', '.join(sorted({f for fs in CHAPTERS.values() for f in fs}))}")


CARDS = [] if PROFILE.settings.get("model") else [f"{MODELS}/{name}-{seed}/card.json" for name in PROFILE.settings["foundations"] for seed in PROFILE.settings["seeds"]]


def needs(wildcards):
    run = RUNS[wildcards.run]
    return ([f"{MODELS}/{Path(run.model).name}/card.json"] if CARDS else []) + ([f"{RESULTS}/{run.parent.id}/run.json"] if run.parent else [])


rule book:
    input: HTML

rule figures:
    input: expand(f"{SITE}/notebooks/{{chapter}}.ipynb", chapter=WANTED)

rule results:
    input: expand(f"{RESULTS}/{{run}}/run.json", run=RUNS)

rule foundation:
    priority: 10
    input: lambda w: [ancient(f"{MODELS}/{text}-{w.seed}/card.json") for text in (PROFILE.settings["foundations"][w.foundation].get("language"),) if text]
    output: f"{MODELS}/{{foundation}}-{{seed}}/card.json"
    wildcard_constraints: seed="[0-9]+"
    params: fresh="--fresh" if FRESH else ""
    shell: "posttrain pretrain --profile {NAME} {params.fresh} --foundation {wildcards.foundation} --seed {wildcards.seed}"

rule train:
    input: lambda w: [ancient(path) for path in needs(w)]
    output: f"{RESULTS}/{{run}}/run.json"
    params:
        name=lambda w: RUNS[w.run].name,
        record=f"{BUILD}/records/{{run}}.ipynb",
    wildcard_constraints: run="|".join(RUNS)
    shell:
        "mkdir -p {BUILD}/records && papermill --log-level WARNING notebooks/train.ipynb {params.record} --cwd . "
        "-p profile {NAME} -p fresh {FRESH} -p run {params.name} -p device {DEVICE} && cp {params.record} {RESULTS}/{wildcards.run}/train.ipynb"

rule chapter:
    input:
        source="notebooks/{chapter}.ipynb",
        profile=f"notebooks/profiles/{NAME}.yaml",
        library=LIBRARY,
        cards=[ancient(path) for path in CARDS],
        results=[ancient(f"{RESULTS}/{run}/run.json") for run in RUNS],
    output: f"{SITE}/notebooks/{{chapter}}.ipynb"
    log: f"{BUILD}/logs/{{chapter}}.ipynb"
    shell:
        "papermill --log-level WARNING {input.source} {log} --cwd . -p profile {NAME} -p fresh {FRESH} && cp {log} {output}"

use rule chapter as long_chapter with:
    wildcard_constraints: chapter=LONG
    priority: 1

ruleorder: long_chapter > chapter

rule html:
    input:
        chapters=expand(f"{SITE}/notebooks/{{chapter}}.ipynb", chapter=CHAPTERS),
        book=BOOK,
        stage="tools/stage_book.py",
        library=LIBRARY,
    output: HTML
    params: out=str(Path(HTML).parents[2])
    shell:
        "python tools/stage_book.py {SITE} {FIGURES} && "
        "jupyter-book build {SITE} --config book/_config.yml --toc book/_toc.yml --path-output {params.out} -W -n --keep-going "
        "|| {{ rm -rf {params.out}/_build/.doctrees; exit 1; }}"
