"""Writes ``golden.json``: what torchjd and LibMTL make of fixed gradients and losses.

    pip install 'torchjd[full]==0.18.0' && pip install --no-deps LibMTL==1.1.5
    python -m tests.balancing.make_golden

Random choices of the peers are taken from a list that is stored beside the values.
"""

import importlib.util
import json
import random
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torchjd import aggregation, scalarization

GOLDEN = Path(__file__).with_name("golden.json")


def jacobians():
    """Rows are gradients: conflicts, several scales, dependent rows."""
    draw = np.random.default_rng(7)
    plain = {t: draw.normal(size=(t, 7)) for t in (2, 3, 5)}
    conflict = np.array([[4.0, 1, 0, 2], [-3, 2, 1, -1], [1, -2, 3, 0.5]])
    return {
        "two": plain[2],
        "three": plain[3] + 0.3,
        "five": plain[5] - 0.2,
        "conflicting": conflict,
        "scales": plain[3] * np.array([[10.0], [1.0], [0.2]]),
        "dependent": np.stack([conflict[0], conflict[1], conflict[0] + conflict[1]]),
    }


class Recorder:
    """Stands in for a random function, and keeps what it drew."""

    def __init__(self, function):
        self.function, self.drawn = function, []

    def __call__(self, *args, **kwargs):
        found = self.function(*args, **kwargs)
        self.drawn.append(found.tolist())
        return found


def record(name, work):
    """The result of ``work`` and what ``torch.NAME`` drew in it."""
    before = getattr(torch, name)
    recorder = Recorder(before)
    setattr(torch, name, recorder)
    try:
        return work().tolist(), recorder.drawn
    finally:
        setattr(torch, name, before)


def plain_aggregators(tasks):
    a = aggregation
    return {
        "upgrad": a.UPGrad(),
        "dualproj": a.DualProj(),
        "cagrad": a.CAGrad(c=0.5),
        "cagrad-0.2": a.CAGrad(c=0.2),
        "imtl-g": a.IMTLG(),
        "nash-mtl": a.NashMTL(n_tasks=tasks, optim_niter=200),
        "nash-mtl-long": a.NashMTL(n_tasks=tasks, max_norm=0.0, optim_niter=200),
        "aligned-mtl-min": a.AlignedMTL(scale_mode="min"),
        "aligned-mtl-median": a.AlignedMTL(scale_mode="median"),
        "aligned-mtl-rmse": a.AlignedMTL(scale_mode="rmse"),
        "fairgrad-1": a.FairGrad(alpha=1.0),
        "fairgrad-2": a.FairGrad(alpha=2.0),
        "fairgrad-0.5": a.FairGrad(alpha=0.5),
        "config": a.ConFIG(),
        "mgda": a.MGDA(epsilon=1e-9, max_iters=20000),
    }


def from_torchjd(jacobian, losses):
    """Updates by the aggregators, with what they drew."""
    matrix = torch.tensor(jacobian, dtype=torch.float64)
    found = {}
    for name, method in plain_aggregators(len(matrix)).items():
        if name == "fairgrad-0.5" and len(matrix) > 3:
            continue
        found[name] = {"update": method(matrix).tolist()}
    torch.manual_seed(0)
    for name, method, drawing in (
        ("pcgrad", aggregation.PCGrad(), "randperm"),
        ("graddrop", aggregation.GradDrop(), "rand"),
    ):
        update, drawn = record(drawing, lambda method=method: method(matrix))
        found[name] = {"update": update, "drawn": drawn}
    steps = [matrix, matrix.flip(0), matrix * 0.5 + matrix.flip(0), matrix]
    vac, excess = aggregation.GradVac(), aggregation.ExcessMTL(0.3, n_warmup_steps=1)
    pairs = [record("randperm", lambda s=s: vac(s)) for s in steps]
    found["gradvac"] = {
        "updates": [update for update, _ in pairs],
        "drawn": [drawn for _, drawn in pairs],
    }
    found["excess-mtl"] = {"updates": [excess(s).tolist() for s in steps]}
    found["steps"] = [step.tolist() for step in steps]
    return found


def scalars():
    """Losses of a few steps, and what the scalarizers make of them."""
    steps = torch.tensor(
        [[1.0, 4.0, 0.2], [0.9, 3.0, 0.3], [0.7, 2.9, 0.1], [0.8, 2.0, 0.15]],
        dtype=torch.float32,
    )
    found = {"losses": steps.tolist()}

    def weights(function, values):
        values = values.clone().requires_grad_()
        total = function(values)
        total.backward()
        return {"value": total.item(), "weights": values.grad.tolist()}

    s = scalarization
    found["gls"] = [weights(s.GeometricMean(), v) for v in steps]
    log_losses = torch.log(steps / steps[0])
    ones = torch.ones(3)
    found["stch"] = [
        weights(s.STCH(mu=0.7, weights=ones), v).get("value") for v in log_losses
    ]
    for name, method, field in (
        ("uncertainty", s.UW(3), "log_var"),
        ("imtl-l", s.IMTLL(3), "log_scale"),
    ):
        optimizer = torch.optim.Adam(method.parameters(), lr=0.1)
        rows = []
        for v in steps:
            optimizer.zero_grad()
            rows.append(weights(method, v))
            optimizer.step()
            rows[-1]["learned"] = getattr(method, field).tolist()
        found[name] = rows
    dwa, rows = s.DWA(2.0), []
    for i in range(8):
        rows.append(weights(dwa, steps[i % 4] * (1 + i))["weights"])
        if i % 2:
            dwa.step()
    found["dwa"] = rows
    famo, rows = s.FAMO(3), []
    for i in range(6):
        row = weights(famo, steps[i % 4])
        famo.update(steps[(i + 1) % 4])
        row["learned"] = famo._w.tolist()
        rows.append(row)
    found["famo"] = rows
    torch.manual_seed(1)
    update, drawn = record("randn", lambda: s.Random()(steps[0]))
    found["rlw"] = {"value": update, "drawn": drawn}
    return found


def load_libmtl():
    """LibMTL's weightings; its other parts want a torchvision of 2021."""
    spec = importlib.util.find_spec("LibMTL")
    package = types.ModuleType("LibMTL")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["LibMTL"] = package
    import LibMTL.weighting

    return LibMTL.weighting


def libmtl_step(kind, jacobian, losses, *, first=None, **kwargs):
    """Update and weights of one backward pass of a LibMTL method."""
    matrix = torch.tensor(jacobian, dtype=torch.float32)
    theta = torch.zeros(matrix.shape[1], requires_grad=True)
    theta.grad = torch.zeros_like(theta)
    method = kind()
    method.task_num, method.device, method.rep_grad = len(matrix), "cpu", False
    method.get_share_params = lambda: [theta]
    method.zero_grad_share_params = lambda: theta.grad.zero_()
    method.epoch = 1
    if first is not None:
        method.train_loss_buffer = np.array(first)[:, None]
    method.init_param()
    weights = method.backward(matrix @ theta + torch.tensor(losses), **kwargs)
    scale = getattr(method, "loss_scale", None)
    return {
        "update": theta.grad.tolist(),
        "weights": np.asarray(weights).tolist(),
        "slope": None if scale is None or scale.grad is None else scale.grad.tolist(),
    }


def from_libmtl(weighting, jacobian, losses):
    """Updates and weights by LibMTL's methods."""
    tasks = len(jacobian)
    given = (jacobian, losses)
    found = {
        f"mgda-{norm}": libmtl_step(weighting.MGDA, *given, mgda_gn=norm)
        for norm in ("none", "l2", "loss", "loss+")
        if tasks == 2
    }
    first = [2.0 * loss for loss in losses[:-1]] + [losses[-1]]
    found["gradnorm"] = libmtl_step(weighting.GradNorm, *given, first=first, alpha=1.5)
    found["gradnorm"]["first"] = first
    found["imtl-g"] = libmtl_step(weighting.IMTL, *given)
    if tasks == 3:  # its objective is written for three
        found["cagrad"] = libmtl_step(weighting.CAGrad, *given, calpha=0.5, rescale=1)
    if tasks == 2:  # no order to choose
        found["pcgrad"] = libmtl_step(weighting.PCGrad, *given)
        found["gradvac"] = libmtl_step(weighting.GradVac, *given, beta=0.5)
    return found


def main():
    random.seed(0)
    weighting = load_libmtl()
    cases = {}
    for name, jacobian in jacobians().items():
        jacobian = np.round(jacobian, 6).tolist()
        losses = [round(0.4 + 0.7 * t, 3) for t in range(len(jacobian))]
        case = {"jacobian": jacobian, "losses": losses}
        case["torchjd"] = from_torchjd(jacobian, losses)
        if name != "dependent":
            case["libmtl"] = from_libmtl(weighting, jacobian, losses)
        cases[name] = case
    packages = ("torchjd", "LibMTL", "torch", "numpy", "scipy", "cvxpy", "quadprog")
    golden = {
        "made_by": "python -m tests.balancing.make_golden",
        "versions": {package: version(package) for package in packages},
        "gradients": cases,
        "scalars": scalars(),
    }

    def short(value):
        return float(f"{value:.8g}")

    rounded = json.loads(json.dumps(golden), parse_float=lambda x: short(float(x)))
    text = json.dumps(rounded)
    GOLDEN.write_text(text + "\n")


if __name__ == "__main__":
    main()
