"""Measures the seconds of a training step of TRL's NashMDTrainer, its memory, and whether its mixture is right.

Called by `benchmarks/nash_md_speed.py` with the Python of the peer's environment:
`trl_nash_md.py --model FOLDER --prompts FILE …`. Prints one line of JSON. A step is everything between two gradient
steps: generation, scoring, forward and backward pass, and the optimiser. The first step, which warms up, is left out.
All answers have the same number of tokens; the score of an answer is a sum over its tokens.

`--setting defaults` uses gradient checkpointing and generates without a cache of keys and values, for both answers.
`plain` turns gradient checkpointing off. `cached` generates with a cache, which the two models of the mixture then
share: this is faster, but samples from a wrong mixture. The key `reference_differs` says whether the reference of the
mixture differs from the policy.
"""

import argparse
import importlib.metadata
import json
import os
import re
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false")

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, TrainerCallback
from transformers.utils import logging
from trl.experimental.nash_md import NashMDConfig, NashMDTrainer, nash_md_trainer

MIXTURE = 0.125
PERTURBATION = 0.02  # standard deviation of noise on the weights before policy and reference are compared
LIBRARIES = ("trl", "transformers", "peft", "torch")


class TokenScores(torch.nn.Module):
    """A minimal reward model: the score of an answer is the sum of random scores of its tokens."""

    base_model_prefix = "body"

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.config = PretrainedConfig(name_or_path="token_scores")
        self.body = Sums(vocabulary)
        self.score = torch.nn.Identity()


class Sums(torch.nn.Module):
    """Computes cumulative sums (B, T, 1) of the scores of tokens."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("scores", torch.randn(vocabulary) / 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_options: object) -> SimpleNamespace:
        """Returns the sums in the field for the last layer of a language model."""
        sums = (self.scores[input_ids] * attention_mask).cumsum(1)
        return SimpleNamespace(last_hidden_state=sums.unsqueeze(-1))


class Clock(TrainerCallback):
    """Records the times at which steps end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **_options) -> None:
        """Is called after a step of the optimiser."""
        self.ends.append(time.perf_counter())


def make_trainer(options: argparse.Namespace, folder: str, clock: Clock) -> NashMDTrainer:
    """Returns a trainer with one gradient step for each batch, in float32, without logs, checkpoints and evaluation."""
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    lines = Path(options.prompts).read_text().splitlines()
    count = options.batch * (options.steps + 1)
    prompts = [[{"role": "user", "content": lines[number % len(lines)]}] for number in range(count)]
    adapters = LoraConfig(r=options.lora, lora_alpha=options.lora, target_modules="all-linear", task_type="CAUSAL_LM")
    return NashMDTrainer(
        model=model,
        reward_funcs=TokenScores(model.config.vocab_size),
        args=make_config(options, folder),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        peft_config=adapters if options.lora else None,
        callbacks=[clock],
    )


def make_config(options: argparse.Namespace, folder: str) -> NashMDConfig:
    """Returns TRL's configuration, with its defaults where they do not cost time."""
    return NashMDConfig(
        output_dir=folder,
        per_device_train_batch_size=options.batch,
        max_steps=options.steps + 1,
        max_new_tokens=options.tokens,
        generation_kwargs={"min_new_tokens": options.tokens, "use_cache": options.setting == "cached"},
        temperature=1.0,
        mixture_coef=MIXTURE,
        gradient_checkpointing=options.setting == "defaults",
        bf16=False,
        use_cpu=True,
        seed=options.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


@torch.no_grad()
def reference_differs(trainer: NashMDTrainer) -> bool:
    """Whether the logits of the mixture's reference differ from the policy's after trainable weights are perturbed."""
    calls = []

    class Recorder(nash_md_trainer.GeometricMixtureWrapper):
        def __init__(self, model, ref_model, *arguments, **options) -> None:
            super().__init__(model, ref_model, *arguments, **options)
            calls.append((model, ref_model))

    for weights in trainer.model.parameters():
        if weights.requires_grad:
            weights.add_(PERTURBATION * torch.randn_like(weights))
    nash_md_trainer.GeometricMixtureWrapper = Recorder
    tokens = torch.arange(3, 11).unsqueeze(0)
    trainer._generate_completions(trainer.model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    policy, reference = (model(tokens).logits for model in calls[0])
    return not torch.equal(policy, reference)


def peak_memory() -> int:
    """Returns the peak resident memory of this process in bytes."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def main() -> None:
    """Trains, and prints the result as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a causal language model with a chat template")
    parser.add_argument("--prompts", required=True, help="file with a user's message in each line")
    parser.add_argument("--batch", type=int, default=8, help="prompts of a step (default 8)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of each answer (default 32)")
    parser.add_argument("--steps", type=int, default=4, help="steps that are timed, after one to warm up (default 4)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--lora", type=int, default=16, help="rank; 0 for all weights (default 16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setting", default="defaults", choices=["defaults", "plain", "cached"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(options, folder, clock)
        trainer.train()
    peak = peak_memory()
    seconds = [end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)]
    line = {
        "seconds": seconds,
        "answers_per_second": 2 * options.batch * len(seconds) / sum(seconds),
        "peak_bytes": peak,
        "reference_differs": reference_differs(trainer),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
