"""What each Ray Train worker runs: it serves one trial after another out of its slot's mailbox."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from trainables.background import Background
from trainables.config import TrainingConfig, TrialConfig
from trainables.distributed import Group, PeerLostError
from trainables.errors import MachineError
from trainables.storage import disk
from trainables.storage.scratch import scratch
from trainables.storage.store import Store, insist, is_uri
from trainables.workers.meeting import meeting

if TYPE_CHECKING:  # torch and transformers are imported by the first trial, not by whoever names this module
    import torch

    from trainables.materials.materials import Materials
    from trainables.scores import Split
    from trainables.scoring.evaluation import Found
    from trainables.scoring.stream import Stream
    from trainables.training.loop import Predicted

SCRATCH = "study-store"
"""How the temporary folders begin in which a worker has what lies in an object store."""

POISONING = ("OutOfMemoryError", "AcceleratorError", "MemoryError")
"""Exceptions after which a process cannot be trusted with another trial."""

MEMORY_KEYS = (
    *(f"training.{name}" for name in ("micro_batch_size", "micro_batch_tokens") if name in TrainingConfig.model_fields),
    "evaluation.token_budget",
)
"""What decides how much of a trial is in memory at once, in training and where it is scored."""

BLIP_SECONDS = 300.0
"""Longest time that the network may be away before a worker gives up on its mailbox."""


ALLOCATORS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Variables that tell torch how to hand out a card's memory, of which it takes any."""


def serve(config: dict[str, Any]) -> None:
    """Train function of a worker group.

    `config`: mailbox (actor handle), slot, folder (the driver's), trials (how many before the group is replaced),
    growth_mb (or after how much growth of a worker's memory), threads, gpus (of each worker; a fraction is its part of
    one), meeting (a folder that all share, where the workers are on one machine; None where Ray Train lets them meet).
    """
    from ray import train

    _search_last(config["folder"])
    context = train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size(), device(config["gpus"]))
    ray.get(config["mailbox"].serving.remote(config["slot"], group.rank, _stderr()))
    with (
        meeting(config["mailbox"], config["slot"], group, config["meeting"]),
        _watching(config["mailbox"], config["slot"]) if group.rank == 0 else nullcontext(bool) as interrupted,
    ):
        _serve(config, group, interrupted)


def _serve(config: dict[str, Any], group: Group, interrupted: Callable[[], bool]) -> None:
    grown, known = 0, set[tuple[str, str | None]]()
    for _ in range(config["trials"]):
        job = _next_job(config, group)
        if job is None:
            return
        _pristine(config["threads"])
        encoder, before = (job["trial"]["encoder"]["name_or_path"], job["trial"]["encoder"]["revision"]), _peak_mb()
        _run(job, config, group, interrupted)
        if encoder in known:  # what another one takes more than the last is no leak
            grown += _peak_mb() - before
        elif not known:
            gc.collect()
            gc.freeze()  # modules, and what stays from trial to trial: a third of a second a collection otherwise
        known.add(encoder)
        if any(group.gather(grown > config["growth_mb"])):
            return


def _search_last(folder: str) -> None:
    """Look for modules in the driver's folder last: a folder there that is named like a package would hide it."""
    sys.path.sort(key=lambda path: path == folder)


def _stderr() -> str:
    """The file that this process's standard error goes to, or nothing."""
    try:
        return str(Path("/proc/self/fd/2").readlink())
    except OSError:
        return ""


def device(gpus: float) -> torch.device:
    """Where this worker computes: the accelerator of which it has `gpus`, or the CPU.

    Of one that it shares it takes no more memory than its part: what goes beyond fails here, not in another trial.
    Memory grows in place unless somebody has said how it is to be handed out: batches are of a new size in each step,
    and pieces of the former ones' sizes would lie about between them.
    """
    if gpus and not any(name in os.environ for name in ALLOCATORS):  # read when torch first takes memory of a card
        os.environ[ALLOCATORS[0]] = "expandable_segments:True"
    import torch

    if not gpus or not torch.cuda.is_available():
        return torch.device("cpu")
    from ray.train.torch import get_device  # no attribute of ray.train until somebody imports it

    accelerator: torch.device = get_device()
    # Ray Train's own groups do this; one that meets at a file, or a single worker, has nobody else to.
    torch.cuda.set_device(accelerator)
    if gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus, accelerator)
    return accelerator


def _next_job(config: dict[str, Any], group: Group) -> dict[str, Any] | None:
    while True:
        # Rank 0 answers at least once a minute, so that the others' broadcast never runs into its time-out.
        asked = _asked(config["mailbox"].next_job, config["slot"]) if group.rank == 0 else None
        job = group.share(asked)
        if job != "idle":
            return dict(job) if job is not None else None


def _run(job: dict[str, Any], config: dict[str, Any], group: Group, interrupted: Callable[[], bool]) -> None:
    """One trial, from its newest checkpoint. Its failure is posted, and ends the process only if that is suspect."""

    def post(item: dict[str, Any]) -> str:
        verdict = None
        if group.rank == 0:
            verdict = _asked(config["mailbox"].post, config["slot"], job["attempt"], item)
        return str(group.share(verdict))

    final = False
    try:
        from trainables.storage import soup
        from trainables.training.loop import run_trial

        given = job.get("weights")  # others' that it is to score, in place of a training
        with (
            _checkpoints(job["directory"]) as (directory, keep),
            nullcontext((None, None)) if given is None else _checkpoints(given) as (weights, _),
        ):
            if weights is not None and group.rank == 0:
                soup.check(weights, job["averaged"])
            evaluations = run_trial(
                TrialConfig.model_validate(job["trial"]),
                directory,
                group=group,
                final_split=job["final_split"],
                predicted=_keep_predictions(job["predictions"]),
                interrupted=interrupted,
                say=lambda words: _note(config, job, words),
                keep=keep,
                weights=weights,
            )
            for evaluation in evaluations:
                final = final or evaluation.final
                if post({"kind": "report", "evaluation": evaluation}) == "stop":
                    evaluations.close()
                    return
    except PeerLostError:
        raise  # the group is replaced, and the trial goes on as the next attempt
    except Exception as error:
        _advise(error)
        # Posted by whoever failed: with several workers the others may be stuck in a collective that never completes.
        item = {"kind": "failed", "error": f"{traceback.format_exc()}"}
        if isinstance(error, MachineError):
            item = {"kind": "halted", "error": str(error)}
        elif disk.number(error) in disk.FULL:
            words = f"{getattr(error, 'filename', None) or job['directory']}: {disk.reason(error)}"
            item = {"kind": "halted", "error": words}
        _asked(config["mailbox"].post, config["slot"], job["attempt"], item)
        if group.world > 1 or type(error).__name__ in POISONING or "CUDA" in str(error):
            raise
        return
    post({"kind": "done" if final else "interrupted"})


def _advise(error: Exception) -> None:
    """Name the keys by which a trial needs less memory, where it had too little and nobody has named one."""
    short = type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "can't allocate memory" in str(error)
    if short and not getattr(error, "__notes__", []):
        error.add_note(
            f"{', '.join(MEMORY_KEYS)}: a smaller one needs less memory; study doctor says how much there is"
        )


def _note(config: dict[str, Any], job: dict[str, Any], words: str) -> None:
    """Let the study's user know something of this trial."""
    item = {"kind": "note", "words": f"trial {job['number']}: {words}"}
    _asked(config["mailbox"].post, config["slot"], job["attempt"], item)


@contextmanager
def _checkpoints(place: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The local folder of a trial's checkpoints, as its place (a path or a URI) has them, and what keeps them there."""
    if not is_uri(place):
        yield Path(place), lambda: None
        return
    from trainables.storage.shelf import Shelf

    with scratch(SCRATCH) as folder:
        shelf = Shelf(Store(place), folder)
        insist(shelf.fetch)
        yield folder, lambda: insist(shelf.put)


def _keep_predictions(place: str | None) -> Predicted | None:
    """What writes a trial's predictions to its place, a path or a URI."""
    if place is None:
        return None
    from trainables.scoring import predictions

    def keep(materials: Materials, outcomes: list[tuple[Split, Stream, Found]]) -> None:
        tables = [predictions.table(materials, *outcome) for outcome in outcomes]
        if not is_uri(place):
            predictions.write(Path(place), tables)
            return
        with scratch(SCRATCH) as folder:
            predictions.write(folder / "predictions", tables)
            insist(lambda: Store(place).upload(folder / "predictions"))

    return keep


@contextmanager
def _watching(mailbox: Any, slot: str) -> Iterator[Callable[[], bool]]:
    """A flag that turns true once the study is interrupted. A thread asks for it, and so gives signs of life."""
    flag = threading.Event()

    def ask(thread: Background) -> None:
        while not (flag.is_set() or thread.over):
            try:
                if _asked(mailbox.interrupted, slot, 60.0):
                    flag.set()
            except ray.exceptions.RayError:  # the study's driver is gone, and this process with it in a moment
                return

    thread = Background("interrupts", ask)

    def interrupted() -> bool:
        thread.check()
        return flag.is_set()

    try:
        yield interrupted
    finally:
        thread.dismiss()  # its question may take a minute, and this process ends before


def _asked(method: Any, *arguments: Any) -> Any:
    """The mailbox's answer. A network that fails for a while is waited for; asked twice, the mailbox does no harm."""
    deadline = time.monotonic() + BLIP_SECONDS
    while True:
        try:
            return ray.get(method.remote(*arguments))
        except ray.exceptions.ActorUnavailableError:  # it lives, and cannot be reached
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _pristine(threads: int) -> None:
    """Process-wide state that a trial could have changed, set back."""
    import torch

    gc.collect()
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _peak_mb() -> int:
    """Peak resident memory of this process, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)
