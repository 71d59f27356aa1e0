"""Area under the ROC curve: how surely a score tells examples of a label from others.

Shape legend: ``P`` networks, ``n`` examples, ``L`` outputs of the widest task.

The area is the probability that an example with the label has a higher score than one
without, a tie counting half: exact, by sorting, from the scores of all examples.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.evaluation.classification import label_bits, present_outputs
from evojax_mtl.tasks.dataset import Targets


def auroc(
    scores: Float[Array, "n"], labels: Bool[Array, "n"], mask: Bool[Array, "n"]
) -> Float[Array, ""]:
    """The area under the ROC curve of the examples that count.

    NaN where they all have the label or none has; 0, the worst, where a score is not
    finite.

    Args:
      scores: higher the surer of the label.
      labels: whether each example has it.
      mask: which examples count.
    """
    positive, negative = labels & mask, ~labels & mask
    others = jnp.sort(jnp.where(negative, scores, jnp.inf))
    below, not_above = (
        jnp.searchsorted(others, scores, side=side) for side in ("left", "right")
    )
    # in parts of all the others, so that large counts keep their digits
    beaten = (below + not_above) / (2 * jnp.maximum(negative.sum(), 1))
    area = jnp.sum(jnp.where(positive, beaten, 0)) / jnp.maximum(positive.sum(), 1)
    area = jnp.where(positive.any() & negative.any(), area, jnp.nan)
    return jnp.where((jnp.isfinite(scores) | ~mask).all(), area, 0)


def mean_auroc(
    logits: Float[Array, "P n L"],
    labels: Int[Array, "P n"],
    mask: Bool[Array, "P n"],
    targets: Targets,
    known: Bool[Array, "P n L"] | None = None,
) -> Float[Array, "P"]:
    """Mean area over the labels, or the classes, that some examples have and some not.

    Where an example has one class, a class's score is the log odds that it is the one
    (of two classes both have the same area). NaN where no label has examples of both
    kinds.

    Args:
      logits: of all examples of a split.
      labels: class indices, or bits of several labels.
      mask: which examples count.
      targets: what the labels of each network's task mean.
      known: which labels of an example are known; None for all.
    """
    outputs = logits.shape[-1]
    present = present_outputs(outputs, targets)
    several = targets.several[:, None]
    bits = label_bits(labels, outputs)
    shares = jax.nn.log_softmax(jnp.where(present, logits, -jnp.inf))
    index = jnp.arange(outputs)

    def area(output):
        rest = jax.nn.logsumexp(jnp.where(index == output, -jnp.inf, shares), axis=-1)
        odds = shares[..., output] - rest
        scores = jnp.where(several, logits[..., output], odds)
        truth = jnp.where(several, bits[..., output] == 1, labels == output)
        counted = mask & present[..., output]
        counted = counted if known is None else counted & known[..., output]
        return jax.vmap(auroc)(scores, truth, counted)

    # one output at a time: each looks at the others of every example
    return jnp.nanmean(jax.lax.map(area, index), axis=0)
