"""Optimiser steps for R replicas at once, none of which ever mixes two of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from prefrl_cli.core.layers.networks import Parameters
from prefrl_cli.core.option_types import Count, Fraction, Given, NotNegative, OptionError, Positive
from prefrl_cli.core.saved_state import check_state


class Optimizer:
    """One step of a torch optimiser for R replicas, with a gradient clip for each.

    Subclasses give `_apply`; the functional optimisers of torch do the arithmetic (importing an optimiser class
    instead costs two seconds at the first step).

    Args:
        parameters: what is trained.
        lr: learning rate.
        decay_steps: optimiser steps after which the learning rate has fallen to zero along half a cosine
            (Loshchilov and Hutter 2017, eq. 5); none leaves it constant.
        clip: largest Euclidean norm of one replica's gradient; none leaves it alone.
    """

    slots = 0

    def __init__(self, parameters: Given[Parameters], lr: float, clip: float | None, decay_steps: int | None) -> None:
        self.parameters = parameters
        self.lr, self._clip, self._decay_steps = lr, clip, decay_steps
        self._slots = [torch.zeros_like(parameters.flat) for _ in range(self.slots)]
        self._count = torch.zeros((), device=parameters.flat.device)
        self._losses = torch.zeros(len(parameters.flat), device=parameters.flat.device)

    def on(self, parameters: Parameters) -> Self:
        """A new optimiser of the same settings, for other parameters."""
        other = copy.copy(self)
        Optimizer.__init__(other, parameters, self.lr, self._clip, self._decay_steps)
        return other

    @property
    def taken(self) -> int:
        """Steps so far."""
        return int(self._count)

    @property
    def finite_losses(self) -> Tensor:
        """Whether every loss so far was finite, `[R]`."""
        return self._losses.isfinite()

    @property
    def finite_parameters(self) -> Tensor:
        """Whether every parameter is finite, `[R]`."""
        total = self.parameters.flat.detach().sum(1)  # the quick look: not finite where one of them is not
        return total.isfinite() if total.isfinite().all() else self.parameters.flat.detach().isfinite().all(1)

    def clear(self, replicas: Tensor) -> None:
        """Set what some replicas, bool `[R]`, have learned to zero."""
        with torch.no_grad():
            for learned in (self.parameters.flat, *self._slots, self._losses):
                learned[replicas] = 0.0

    def step(self, loss: Tensor) -> None:
        """Move each replica's parameters against the gradient of its own loss `[R]`."""
        gradient = self.parameters.gradient(loss)
        with torch.no_grad():
            self._losses.add_(loss, alpha=0.0)  # 0 of a number, NaN of what is none; their sum could overflow
            if self._clip is not None:
                gradient.renorm_(p=2, dim=0, maxnorm=self._clip)  # each row has a norm of its own
            rate = self._rate()
            self._count += 1
            self._apply(gradient, rate)
            self.parameters.moved()

    def state(self) -> dict[str, Any]:
        """The parameters, the moments and the count of steps."""
        return {"flat": self.parameters.flat, "slots": self._slots, "count": self._count, "losses": self._losses}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes, which torch would stretch to fit."""
        check_state(self.state(), state, "optimizer")
        with torch.no_grad():
            self.parameters.flat.copy_(state["flat"])
        for mine, theirs in zip(self._slots, state["slots"], strict=True):
            mine.copy_(theirs)
        self._count.copy_(state["count"])
        self._losses.copy_(state["losses"])

    def _rate(self) -> float:
        if self._decay_steps is None:
            return self.lr
        done = min(float(self._count) / self._decay_steps, 1.0)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))

    def _apply(self, gradient: Tensor, lr: float) -> None:
        raise NotImplementedError


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1); with `weight_decay`, AdamW (Loshchilov and Hutter 2019, algorithm 2)."""

    slots = 2

    def __init__(
        self,
        parameters: Given[Parameters],
        lr: Positive = 1e-3,
        betas: Sequence[Fraction] = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        clip: Positive | None = None,
        decay_steps: Count | None = None,
    ) -> None:
        super().__init__(parameters, lr, clip, decay_steps)
        if len(betas) != 2 or max(betas) >= 1:
            raise OptionError("betas", list(betas), "two numbers of at least 0 and below 1", [0.9, 0.999])
        self._betas, self._eps, self._decay = tuple(betas), eps, weight_decay

    def _apply(self, gradient: Tensor, lr: float) -> None:
        # The kernel of torch.optim.adam(fused=True); through torch.optim a small network's step takes twice as long.
        kernel = torch.ops.aten._fused_adamw_.default if self._decay else torch.ops.aten._fused_adam_.default
        kernel(
            [self.parameters.flat], [gradient], [self._slots[0]], [self._slots[1]], [], [self._count],
            lr=lr, beta1=self._betas[0], beta2=self._betas[1], weight_decay=self._decay, eps=self._eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012), as torch has it."""

    slots = 1

    def __init__(
        self,
        parameters: Given[Parameters],
        lr: Positive = 1e-3,
        alpha: Fraction = 0.99,
        eps: Positive = 1e-8,
        clip: Positive | None = None,
        decay_steps: Count | None = None,
    ) -> None:
        super().__init__(parameters, lr, clip, decay_steps)
        self._alpha, self._eps = alpha, eps

    def _apply(self, gradient: Tensor, lr: float) -> None:
        rmsprop(
            [self.parameters.flat], [gradient], [self._slots[0]], [], [], [self._count],
            lr=lr, alpha=self._alpha, eps=self._eps, weight_decay=0.0, momentum=0.0, centered=False,
        )  # fmt: skip


class SGD(Optimizer):
    """Gradient descent, with momentum (Polyak 1964) where asked for."""

    slots = 1

    def __init__(
        self,
        parameters: Given[Parameters],
        lr: Positive = 1e-2,
        momentum: Fraction = 0.0,
        clip: Positive | None = None,
        decay_steps: Count | None = None,
    ) -> None:
        super().__init__(parameters, lr, clip, decay_steps)
        self._momentum = momentum

    def _apply(self, gradient: Tensor, lr: float) -> None:
        sgd(
            [self.parameters.flat], [gradient], [self._slots[0] if self._momentum else None],
            lr=lr, momentum=self._momentum, weight_decay=0.0, dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip
