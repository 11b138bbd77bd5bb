"""What the playground's script says: its words in the page's language, by name.

A name with several forms is a table by the categories of `Intl.PluralRules`. What stands in braces
is filled in by the script, numbers as the page writes them.
"""

from collections.abc import Callable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

Words = dict[str, str | dict[str, str]]


def words() -> Words:
    return _numbers() | _chat() | _faults() | _media()


def _forms(said: Callable[[int], str]) -> dict[str, str]:
    """The forms of a phrase: gettext chooses them by number, the script by category."""
    return {"one": said(1), "few": said(2), "many": said(5), "other": said(2)}


def _numbers() -> Words:
    return {
        "seconds": _("{s} s"),
        "days": _forms(lambda n: ngettext("{n} day", "{n} days", n)),
        "hours": _("{n} h"),
        "minutes": _("{n} min"),
        "tokens": _forms(lambda n: ngettext("{n} token", "{n} tokens", n)),
        "tokens_speed": _forms(
            lambda n: ngettext("{n} token, {speed} per second", "{n} tokens, {speed} per second", n)
        ),
        "speed": _("{speed} tokens per second"),
        "tokens_from": _forms(
            lambda n: ngettext("{n} token from {bucket}", "{n} tokens from {bucket}", n)
        ),
        "credits_from": _forms(lambda n: ngettext("{n} credit", "{n} credits", n)),
        "units_from": _("{n} from {bucket}"),
        "draws": _("Draws on {bucket}"),
        "a_call": _("{n} credits a call"),
        "credits_1k": _("{price} credits in / out per 1k"),
        "context": _("{size} context"),
        "left": _("left"),
        "daily": _("daily"),
        "a_period": _("this period"),
        "this_chat": _("this chat {n}"),
        "used": _("{n} used"),
        "reserved_now": _("{n} reserved now"),
        "promo": _("+{n} promo"),
        "meter": _("{name}: {used} used, {held} reserved of {limit}"),
    }


def _chat() -> Words:
    return {
        "ask": _("Ask something…"),
        "follow_up": _("Ask a follow-up…"),
        "starter_1": _("Explain a database index in three sentences."),
        "starter_2": _("Write a Python function that retries with backoff."),
        "starter_3": _("Compare REST and gRPC in a table."),
        "your_message": _("Your message"),
        "answer_of": _("Answer of {model}"),
        "thoughts": _("How it got there"),
        "waiting": _("waiting for the first word"),
        "streaming": _("streaming, {time} to first token"),
        "streaming_short": _("streaming"),
        "first_token": _("first token {time}"),
        "cut": _("cut off by the limit of tokens"),
        "filtered": _("cut off by the provider’s content filter"),
        "said_nothing": _("the model said nothing"),
        "stopped": _forms(
            lambda n: ngettext(
                "Stopped. {n} token charged, {back} given back.",
                "Stopped. {n} tokens charged, {back} given back.",
                n,
            )
        ),
        "stopped_credits": _forms(
            lambda n: ngettext(
                "Stopped. {n} credit charged, {back} given back.",
                "Stopped. {n} credits charged, {back} given back.",
                n,
            )
        ),
        "stopped_free": _("Stopped. Nothing was charged."),
        "stopped_wait": _("Stopped. Asking what it has cost."),
        "stopped_unknown": _("Stopped. What it has cost is on the Usage page in a moment."),
        "continue": _("Continue"),
        "edit": _("Edit and send again"),
        "again": _("Answer again"),
        "copy_answer": _("Copy the answer"),
        "copy_code": _("Copy the code"),
        "undo": _("Leave as it was"),
        "delete": _("Delete"),
        "resend": _("Send again"),
        "still_running": _("An answer is still coming. Stop it first."),
        "nothing_yet": _("Nothing has been said yet."),
        "choose": _("Choose a model"),
        "picker_loading": _("Reading the list of models…"),
        "picker_more": _forms(
            lambda n: ngettext("{n} more: type to narrow.", "{n} more: type to narrow.", n)
        ),
        "picker_none": _("No model matches “{query}”. Clear the search or check the spelling."),
        "no_catalogue": _("The list of models could not be loaded."),
        "remove": _("Remove {name}"),
        "file_kind": _("{name} cannot be sent: pictures, PDF, sound (MP3, WAV) and text can."),
        "file_route": _("{name} cannot be sent: this route takes text alone."),
        "file_unread": _("{name} could not be read."),
        "file_large": _("{name} is too large: 20 MB go into one message."),
    }


def _faults() -> Words:
    return {
        "f_session": _("You are signed out."),
        "f_session_text": _(
            "Sign in again in another tab, then ask once more: nothing here is lost."
        ),
        "f_stale": _("This page is out of date."),
        "f_stale_text": _("Copy what you need, then load it again."),
        "f_quota": _("{bucket} is used up for today."),
        "f_quota_text": _("{needed} needed, {left} left. Resets in {wait}."),
        "f_credits": _("Not enough credits."),
        "f_credits_text": _("{needed} needed, {left} left."),
        "f_fast": _("Too much at once."),
        "f_timeout": _("Nobody answered in time."),
        "f_timeout_text": _("The provider fell silent."),
        "f_refused": _("The provider refused the request."),
        "f_upstream": _("The provider failed."),
        "f_network": _("The connection broke off."),
        "f_network_text": _("What has come so far is kept."),
        "f_ours": _("We broke something."),
        "f_request_title": _("This request cannot be answered."),
        "f_limit": _("A limit of your account."),
        "f_provider": _("Not your fault: the provider’s."),
        "f_request": _("Something in the request."),
        "f_nobody": _("Nobody’s fault."),
        "f_us": _("Not your fault: ours."),
        "nothing": _("Nothing was charged."),
        "charged": _("{n} from {bucket} charged, {back} given back."),
        "cost_later": _("If anything was charged, it is on the Usage page in a moment."),
        "request_id": _("Request id"),
        "sign_in": _("Sign in"),
        "do_again": _("Try again"),
        "do_pick": _("Choose another model"),
        "do_reload": _("Load the page again"),
    }


def _media() -> Words:
    return {
        "image": _("Pictures"),
        "speech": _("Speech"),
        "transcript": _("Transcript"),
        "stop": _("Stop"),
        "making": _("being made"),
        "made": pgettext("film", "done"),
        "left_alone": _("Stopped waiting. What it costs is on the Usage page when it is done."),
        "download": _("Download {name}"),
        "elsewhere": _("Open the picture on the provider’s site"),
        "no_picture": _("The provider sent something that is no picture."),
        "silence": _("Nothing was said in it."),
        "film_begun": _("Begun. It goes on when you close this page."),
        "film_waits": _("waiting its turn"),
        "film_runs": _("being made, {n} %"),
        "film_failed": _("not made"),
        "save_film": _("Download the film"),
    }
