"""``weir dlq``: dead letters listed, looked at, and put back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from heapq import nlargest
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import Progress

from connectors.registry import Registry
from streams.telemetry.letter import Letter, read_letter
from weir.cli.dlq_filters import filters, selected
from weir.cli.dlq_page import letter_object, letter_page, print_letters, print_summary, summary_of, whole_object
from weir.demo.interrupt import Interrupt
from weir.dlq.receipts import Receipts, read_receipts
from weir.dlq.replay import Replay, replay_producer
from weir.dlq.replay_plan import WHY_LEFT, ReplayPlan, Rules, plan_replay
from weir.dlq.selection import Selection, place
from weir.dlq.topic_reader import TopicReader
from weir.errors import TransientError, UsageError
from weir.settings import Settings, load_settings

LISTED: Final = 100
"""Letters that a table shows when no --limit is given."""

INTERRUPTED: Final = 130


@click.group(name="dlq")
def command() -> None:
    """Dead letters: records that Weir refused, kept as they came with where and why."""


@command.command(name="list")
@filters
@click.option("--open", "only_open", is_flag=True, help="Leave out what was put back.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"The newest N. Default: {LISTED} in a table, all with --json."
)
@click.option("--summary", is_flag=True, help="Count by reason and organisation instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def list_letters(only_open: bool, limit: int | None, summary: bool, as_json: bool, **chosen: Any) -> None:
    """List dead letters, oldest first: place, time, reason, device, where they came from, how often they were put back.

    \b
    Example:
      weir dlq list --since 2h --reason unknown_device
      weir dlq list --summary

    Exit codes: 0 done, also when there are none; 1 Kafka is away; 2 wrong usage, settings or topics.
    """
    settings, selection = load_settings(), selected(**chosen)
    with _open(settings) as (reader, receipts):
        letters: Iterable[Letter] = _letters(reader, selection)
        if only_open:
            letters = (letter for letter in letters if not receipts.cover(letter))
        if summary:
            counts = summary_of(letters, receipts)
            _print_objects(counts) if as_json else print_summary(counts)
            return
        if as_json and limit is None:
            _print_objects(letter_object(letter, receipts.cover(letter)) for letter in letters)
            return
        newest = nlargest((limit or LISTED) + 1, letters, key=_age)
    more, shown = len(newest) > (limit or LISTED), newest[: limit or LISTED][::-1]
    if as_json:
        _print_objects(letter_object(letter, receipts.cover(letter)) for letter in shown)
        return
    print_letters(shown, receipts)
    if more and limit is None:
        _tell(f"The newest {LISTED}; there are more: add --limit or filters, or see --summary.")


@command.command(name="show")
@click.argument("places", nargs=-1, metavar="[PARTITION:OFFSET]...")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=1, show_default=True, help="The newest N of the filters.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout, the value in base64, too.")
def show(places: tuple[str, ...], limit: int, as_json: bool, **chosen: Any) -> None:
    """Show everything of single letters: headers, key, and the value decoded by its schema or as JSON, else its bytes.

    Name their places, or choose with filters; without either it is the newest letter.

    \b
    Example:
      weir dlq show 0:17
      weir dlq show --device dev-404 --limit 3

    Exit codes: 0 done; 1 Kafka is away; 2 wrong usage, settings or topics, or there is no such letter.
    """
    settings, selection = load_settings(), selected(**chosen)
    if places and selection != Selection():
        raise UsageError("Name places or filters, not both.")
    with _open(settings) as (reader, receipts), Registry(settings.registry) as registry:
        if places:
            letters = [_letter_at(reader, each) for each in places]
        else:
            letters = nlargest(limit, _letters(reader, selection), key=_age)[::-1]
        for letter in letters:
            if as_json:
                _print_objects([whole_object(letter, receipts.cover(letter), registry)])
            else:
                letter_page(letter, receipts.cover(letter), registry)
    if not letters and not as_json:
        _tell("There is no such dead letter.")


@command.command(name="replay")
@filters
@click.option("--limit", type=click.IntRange(min=1), help="Only the oldest N of what would be put back.")
@click.option(
    "--max-replays",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Leave letters that were put back and refused again so often.",
)
@click.option("--again", is_flag=True, help="Put back what was put back before, too.")
@click.option("--rate", type=click.IntRange(min=1), metavar="N", help="At most N letters a second.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    limit: int | None,
    max_replays: int,
    again: bool,
    rate: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Put letters back into the topic and partition they came from, once their cause is mended.

    Key and value go back byte for byte, and the worker judges them like any other record: it stores them, or refuses
    them again, as a new letter with a higher replay count. A letter goes back once: a receipt is kept for as long as
    the letter, so the same command may be run again, and does what is new. A record that was put back and refused again
    is a new letter and goes back again, up to --max-replays. A value that was cut is fetched whole from its own topic;
    if that no longer has it, the letter stays.

    A reading that goes back counts as sent now. What is stored already is not stored twice; but if its device has
    meanwhile sent another value for the same instant, the one that goes back replaces it.

    \b
    Example:
      weir dlq replay --reason unknown_device --since 1d --dry-run
      weir dlq replay --reason unknown_device --since 1d --yes

    \b
    Exit codes:
      0    done, also when there was nothing to put back
      1    Kafka is away, or went away half-way: the sentence says how many were put back
      2    wrong usage, settings or topics
      130  interrupted: it says how many were put back
    """
    settings, selection = load_settings(), selected(**chosen)
    with _open(settings) as (reader, receipts):
        rules = Rules(_partitions(settings), max_replays, again, limit)
        try:
            plan = plan_replay(_letters(reader, selection), receipts, rules)
        except KeyboardInterrupt:
            _tell("Interrupted: nothing was put back.")
            raise
    if dry_run or not plan.chosen:
        _report(plan, len(plan.chosen), 0, dry_run, as_json)
        return
    if not (yes or _confirmed(plan)):
        _tell("Nothing was put back.")
        return
    ctx.exit(_carry_out(settings, plan, rate, as_json))


def _carry_out(settings: Settings, plan: ReplayPlan, rate: int | None, as_json: bool) -> int:
    """Put back what is planned, with progress; the exit code."""
    console = Console(stderr=True, highlight=False)
    with Interrupt() as interrupt, Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        run = Replay(settings, replay_producer(settings), rate, lambda: interrupt.wanted)
        task = bar.add_task("putting back", total=len(plan.chosen))
        try:
            run.run(plan, lambda done: bar.update(task, completed=done))
        except TransientError as error:
            told = f"{run.put_back:,} of {len(plan.chosen):,} letters were put back; run it again for the others."
            raise TransientError(f"{error} {told}") from error
    plan.left.update(run.left)
    missing = len(plan.chosen) - run.put_back - run.left.total()
    _report(plan, run.put_back, missing, False, as_json)
    return INTERRUPTED if missing else 0


def _confirmed(plan: ReplayPlan) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"{_letters_told(len(plan.chosen))} would be put back: say --yes, there is nobody to ask.")
    topics = ", ".join(sorted({each.origin.topic for each in plan.chosen}))
    return click.confirm(f"Put {_letters_told(len(plan.chosen))} back into {topics}?", err=True)


def _report(plan: ReplayPlan, put_back: int, missing: int, dry_run: bool, as_json: bool) -> None:
    if as_json:
        done = {"dry_run": dry_run, "put_back": put_back, "interrupted": bool(missing), "left": dict(plan.left)}
        _print_objects([done])
        return
    verb = "would be put back" if dry_run else "put back"
    cut = sum(each.is_cut for each in plan.chosen)
    fetched = f" ({cut:,} cut, to be fetched whole from their topic)" if cut and dry_run else ""
    click.echo(f"{_letters_told(put_back)} {verb}{fetched}.")
    for why, count in plan.left.most_common():
        click.echo(f"{count:,} left: {WHY_LEFT[why]}.")
    if missing:
        _tell(f"Interrupted: {missing:,} are not put back; run it again for them.")


def _letters_told(count: int) -> str:
    return "1 letter" if count == 1 else f"{count:,} letters"


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[TopicReader, Receipts]]:
    with TopicReader(settings, settings.topics.deadletters) as reader:
        reader.extent()  # of the two topics, this one's absence is told first
        with TopicReader(settings, settings.topics.replayed) as put_back:
            receipts = read_receipts(put_back)
        yield reader, receipts


def _letters(reader: TopicReader, selection: Selection) -> Iterator[Letter]:
    """The letters that are meant, with a line on a terminal that says how far the reading has come."""
    stretches = reader.between(selection.since_ms, selection.until_ms)
    total = sum(max(0, end - begin) for begin, end in stretches.values())
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading dead letters", total=total)
        for message in reader.read(stretches):
            bar.advance(task)
            letter = read_letter(message)
            if selection.matches(letter):
                yield letter


def _letter_at(reader: TopicReader, text: str) -> Letter:
    partition, offset = place(text)
    message = reader.message(partition, offset)
    if message is None:
        held = ", ".join(
            f"{number}:{begin} to {number}:{end - 1}" for number, (begin, end) in reader.extent().items() if end > begin
        )
        raise UsageError(f"There is no dead letter at {text}; {f'there are {held}' if held else 'there are none'}.")
    return read_letter(message)


def _partitions(settings: Settings) -> dict[str, int]:
    """Topics that a letter may go back to, those that stages read, and their partitions."""
    names = settings.topics
    counts = {}
    for topic in (names.readings, names.aggregates_1m, names.aggregates_1h):
        with TopicReader(settings, topic) as reader:
            counts[topic] = len(reader.extent())
    return counts


def _age(letter: Letter) -> tuple[int, int, int]:
    return letter.append_ms, letter.partition, letter.offset


def _print_objects(objects: Iterable[dict[str, Any]]) -> None:
    try:
        for each in objects:
            click.echo(json.dumps(each, ensure_ascii=False, default=str))
    except BrokenPipeError:  # `weir dlq list --json | head` has all it wants; Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
