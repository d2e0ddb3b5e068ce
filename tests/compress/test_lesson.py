"""The lesson of distillation: its loss and gradients are autograd's, shared matrices sum theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgec.compress.distill import Distill
from tests.compress.distill_cases import EVERYTHING, FAST, UP, states
from tests.compress.trained import work_for
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.lesson import Lesson, relative_distance  # noqa: E402
from edgec.compress.torch_model import load_torch  # noqa: E402
from edgec.compress.trained_matrix import TrainedMatrix  # noqa: E402
from edgec.compress.training import draw  # noqa: E402


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("text_loss", "hidden_loss", "temperature"), [(0.3, 0.7, 2.0), (0.0, 2.0, 1.0), (1.0, 0.0, 1.0)]
)
def test_gradients_are_autograds(
    text: Path, tied: bool, text_loss: float, hidden_loss: float, temperature: float
) -> None:
    """Of every tensor of the model, over two passes; matrices by the lesson, everything else by the module."""
    source = checkpoint(config(tied_embeddings=tied), biases=True, qk_norms=True)
    teacher = checkpoint(config(tied_embeddings=tied, n_layers=3), seed=1)
    options = Distill(**FAST | {"low_precision": False, "temperature": temperature, "roles": EVERYTHING})
    names = options.trained(source)
    assert set(names) == set(source.stored_tensors())
    work = work_for(teacher, text)
    data = torch.from_numpy(work.tokens(source))
    matrices = {name: TrainedMatrix(source.tensor(name), None, 0, 0) for name in source.matrix_names()}
    native = [name for name in names if name not in matrices]
    given: dict[str, Any] = {"distill": 1 - text_loss, "teacher": teacher, "hidden_loss": hidden_loss}
    lesson = Lesson(source, matrices, data, options, work, layers=[1, 2], native=native, **given)
    found = lesson.gradients(3)

    plain, taught = load_torch(source).requires_grad_(True), load_torch(teacher)
    total = torch.zeros(())
    for number in (6, 7):
        tokens = data[draw((0, 0), number, 1, len(data))]
        mine, wanted = states(plain, tokens), states(taught, tokens)
        logits, target = (m.head(s[-1])[:, :-1].flatten(0, 1) for m, s in ((plain, mine), (taught, wanted)))
        text_part = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
        p, q = ((x / temperature).log_softmax(-1) for x in (logits, target))
        far = sum(((s - w) ** 2).sum(-1).div((w**2).sum(-1)).mean() for s, w in zip(mine, wanted[1:], strict=True)) / 2
        kl = torch.nn.functional.kl_div(p, q, log_target=True, reduction="batchmean")
        total = total + (text_loss * text_part + (1 - text_loss) * temperature**2 * kl + hidden_loss * far) / 2
    total.backward()
    assert found == pytest.approx(float(total.detach()), rel=1e-5)
    for name in names:
        mine = matrices[name].start.grad if name in matrices else lesson.parameters[name].grad
        assert torch.allclose(mine, plain.get_parameter(name).grad, rtol=2e-3, atol=2e-6), name


def test_distances_of_hidden_states_are_relative() -> None:
    wanted = torch.tensor([[[3.0, 4.0], [300.0, 400.0]]])
    state = wanted + torch.tensor([[[5.0, 0.0], [0.0, 500.0]]])
    assert relative_distance([state], [wanted]) == pytest.approx(1.0)
    assert relative_distance([state, wanted], [wanted, wanted]) == pytest.approx(0.5)


def test_a_shared_matrix_gets_the_gradients_of_all_its_places(text: Path) -> None:
    original = checkpoint(config())
    second = UP.replace("layers.0", "layers.1")
    options = Distill(**FAST | {"low_precision": False, "accumulate": 1})
    apart = original.with_tensors({second: original.tensor(UP)})
    data = torch.from_numpy(work_for(original, text).tokens(original))
    found = {}
    for model in (apart, apart.with_shared({second: UP})):
        names = [name for name in (UP, second) if name in model.stored_matrices()]
        matrices = {name: TrainedMatrix(model.tensor(name), None, 0, 0) for name in names}
        lesson = Lesson(model, matrices, data, options, work_for(original, text), distill=0.5)
        lesson.gradients(0)
        found[len(names)] = sum(matrix.start.grad for matrix in matrices.values())
    assert torch.allclose(found[1], found[2], rtol=1e-4, atol=1e-7)
