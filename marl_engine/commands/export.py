"""marl-export: saves a language model trained by a run, for transformers and peft."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marl_engine.commands.process import read_keys, run_command, show_help
from marl_engine.errors import Refused

HELP = """\
marl-export: saves a language model trained by a run, for transformers and peft.

Usage: marl-export RUN out=FOLDER [key=value ...], where RUN is the folder of a run with policy=language.

  marl-export runs/smol out=smol_adapter                # the adapter, for peft
  marl-export runs/smol out=smol merge=true             # the whole model, for transformers

Keys
  out          a new folder
  merge        true: add the adapter to the weights of its model, in float32
  checkpoint   last (default), best, or the iteration of a saved checkpoint

A run that trained all weights (policy.rank=0) has no adapter; its whole model is saved in either case.

Exit codes: 0 done, 2 refused (nothing is written), 128 + the number of a signal."""


@dataclass
class ExportOptions:
    """The keys of the command."""

    out: str = ""
    merge: bool = False
    checkpoint: str = "last"

    def __post_init__(self) -> None:
        if not self.out:
            raise Refused("say where to: out=FOLDER")
        if Path(self.out).exists():
            raise Refused(f"{self.out} exists; choose another out=")


def main() -> None:
    """The command. Exit codes: 0 done, 2 refused, 128 + the number of a signal."""
    run_command(export)


def export(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. Raises Refused."""
    if show_help(arguments, HELP, "the folder of a run and key=value"):
        return 0
    keys = [word for word in arguments if "=" in word and not Path(word).exists()]
    runs = [word for word in arguments if word not in keys]
    if len(runs) != 1:
        raise Refused(f"say which run, one and not {len(runs)}: marl-export runs/NAME out=FOLDER")
    save(Path(runs[0]), read_keys(keys, ExportOptions))
    return 0


def save(run: Path, options: ExportOptions) -> None:
    """Saves the model atomically and prints how to load it. Raises Refused, OSError."""
    from marl_engine.commands.command_line.trained_models import load_trained

    out = Path(options.out)
    trained = load_trained(run, options.checkpoint, [], dtype="float32" if options.merge else None)
    policy, base = trained.policy, trained.policy.backbone.causal.name_or_path
    is_whole_model = options.merge or not policy.backbone.layers
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        (policy.save_merged if options.merge else policy.save)(temporary)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    model = "AutoModelForCausalLM.from_pretrained({!r})"
    load = (
        model.format(str(out)) if is_whole_model else f"PeftModel.from_pretrained({model.format(base)}, {str(out)!r})"
    )
    print(f"saved   {out}: the {'model' if is_whole_model else 'adapter'} of {run}, iteration {trained.iteration}")
    print(f"load    {load}")
