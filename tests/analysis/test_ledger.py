"""What the ledger quotes, on small samples; the published values are those of figures/values."""

import json

import numpy as np
import pytest
from posttrain.analysis import ledger
from posttrain.environments import navigation
from posttrain.formulas import evaluate
from posttrain.verifiers.general_points import Rule

