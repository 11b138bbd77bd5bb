"""Lists of the admin that stay fast at a million rows: read by leaves, newest first.

- A leaf begins at a primary key ("older", "newer") and has no number: none is read to be skipped.
- A filter that no index serves looks through `WINDOW` rows of what the others leave, and the page
  says how far it has looked: no call pays for an index of it.
- Nothing is counted to its end: more than `COUNTED` rows are estimated, or "more than" it.
- A page that takes longer than `PATIENCE` is stopped and says so.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.views import ChangeList

WINDOW = 50_000
COUNTED = 10_000
PATIENCE = 10
LINK = "font-medium text-primary-600 dark:text-primary-500"
BEFORE, AFTER = "before", "after"
_STEPS = 100_000  # of SQLite's machine, some milliseconds


@dataclass(frozen=True, slots=True)
class Leaf:
    """Rows next to a key, newest first. `more`: the key to go on from, None at the end. `short`:
    it has looked through a whole window without filling the leaf."""

    rows: list[Any]
    more: Any
    short: bool


def look(
    wanted: "QuerySet[Any]", base: "QuerySet[Any] | None", size: int, *, before: Any = None,
    after: Any = None, window: int = WINDOW,
) -> Leaf:  # fmt: skip
    """Up to `size` rows of `wanted` older than `before`, newer than `after`, or the newest. `base`
    is `wanted` without what no index serves; None where all of it is served."""
    up = after is not None
    order, bound = ("pk", "pk__lte") if up else ("-pk", "pk__gte")
    edge = {"pk__gt": after} if up else {} if before is None else {"pk__lt": before}
    rows, limit = wanted.filter(**edge).order_by(order), None
    if base is not None:
        keys = base.filter(**edge).order_by(order).values_list("pk", flat=True)
        limit = next(iter(keys[window : window + 1]), None)
    if limit is not None:
        rows = rows.filter(**{bound: limit})
    found = list(rows[: size + 1])
    full = len(found) > size
    found = found[:size]
    more = found[-1].pk if full else limit
    return Leaf(found[::-1] if up else found, more, short=not full and limit is not None)


def walk(cl: "LeafList", most: int, size: int = 1000) -> Iterator[Leaf]:
    """All rows of a list, newest first, up to `most`, a leaf at a time: for exports."""
    before, left = None, most
    while left > 0:
        leaf = look(cl.queryset, cl.base, min(size, left), before=before)
        cl.model_admin.dress(leaf.rows)
        yield leaf
        before, left = leaf.more, left - len(leaf.rows)
        if before is None:
            return


# ---- how many there are


def capped(rows: "QuerySet[Any]") -> int:
    """How many rows, counted to `COUNTED` and one more."""
    return int(rows.order_by().values("pk")[: COUNTED + 1].count())


def estimate(model: type[Model]) -> int:
    """About how many rows a table has, without reading it."""
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table]
            )
        else:
            cursor.execute(f"SELECT (SELECT max(rowid) FROM {table})"
                           f" - (SELECT min(rowid) FROM {table}) + 1")  # fmt: skip
        return int(cursor.fetchone()[0] or 0)


# ---- the list


class LeafList(ChangeList):  # type: ignore[misc]  # unfold has no types
    """A changelist of one leaf. `base` as in `look`."""

    base: "QuerySet[Any] | None"
    leaf: Leaf
    looked = f"{WINDOW:,}"

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        # Of what the page's links keep: where the leaf was goes, and fields that were left empty.
        for name, values in list(self.filter_params.items()):
            if name in (BEFORE, AFTER) or not any(values):
                self.params.pop(name, None)
                del self.filter_params[name]
        return super().get_queryset(request, exclude_parameters)

    def get_filters(self, request: HttpRequest) -> Any:
        found = super().get_filters(request)
        self.linked: dict[str, Any] = found[2]
        return found

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        return ["-pk"]

    def get_ordering_field_columns(self) -> dict[int, str]:
        return {}

    def get_results(self, request: HttpRequest) -> None:
        before, after = (self._key(request, name) for name in (BEFORE, AFTER))
        self.base = self._served(request)
        leaf = look(self.queryset, self.base, self.list_per_page, before=before, after=after)
        self.leaf, self.result_list = leaf, leaf.rows
        self.model_admin.dress(leaf.rows)
        self.result_count = self.full_result_count = len(leaf.rows)
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = self.multi_page = False
        self.paginator = SimpleNamespace(template_name="admin/leaf.html", count=len(leaf.rows))
        self.older, self.newer = self._ways(before, after)
        self.newest = self.get_query_string() if before or after else ""

    def _key(self, request: HttpRequest, name: str) -> Any:
        text = request.GET.get(name)
        if not text:
            return None
        try:
            if "\0" in text or len(text) > 40:
                raise ValueError
            return self.lookup_opts.pk.to_python(text)
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error

    def _served(self, request: HttpRequest) -> "QuerySet[Any] | None":
        """What is looked through: the list without what no index serves."""
        asked = [spec for spec in self.filter_specs if any(spec.used_parameters.values())]
        if all(getattr(spec, "served", False) for spec in asked):
            return None
        rows = self.root_queryset.filter(build_q_object_from_lookup_parameters(self.linked))
        for spec in asked:
            rows = spec.broad(rows) if hasattr(spec, "broad") else rows
        rows, _ = self.model_admin.get_search_results(request, rows, self.query)
        return rows  # type: ignore[no-any-return]  # unfold has no types

    def _ways(self, before: Any, after: Any) -> tuple[str, str]:
        """Links to the next older and newer rows, where there are some."""
        rows, more = self.leaf.rows, self.leaf.more
        older = more if after is None else rows[-1].pk if rows else after
        newer = more if after is not None else rows[0].pk if rows and before is not None else None
        return self._way(BEFORE, older), self._way(AFTER, newer)

    def _way(self, name: str, key: Any) -> str:
        return "" if key is None else str(self.get_query_string({name: key}))

    @property
    def narrowed(self) -> bool:
        return bool(self.query or self.has_active_filters or self.linked)

    @property
    def told(self) -> str:
        """How many rows there are, as far as that is known."""
        if self.base is not None:
            return ""
        count = capped(self.queryset)
        if count <= COUNTED:
            return f"{count:,}"
        if self.narrowed:
            return f"more than {COUNTED:,}"
        return f"about {max(count, estimate(self.model)):,}"


# ---- a page that takes too long


class TooSlow(Exception):
    """A page's reading was stopped."""


@contextlib.contextmanager
def hurried(seconds: float) -> Iterator[None]:
    """Reads inside are stopped, each after so many seconds on PostgreSQL, on SQLite all of them.
    Nothing is written inside."""
    on_postgresql = connection.vendor == "postgresql"
    try:
        with _timed_out(seconds) if on_postgresql else _interrupted(seconds):
            yield
    except OperationalError as error:
        text = type(error.__cause__).__name__ + str(error)
        if "QueryCanceled" in text or "interrupted" in text:
            raise TooSlow from error
        raise


@contextlib.contextmanager
def _timed_out(seconds: float) -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        yield


@contextlib.contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    connection.ensure_connection()
    driver, deadline = connection.connection, monotonic() + seconds
    driver.set_progress_handler(lambda: monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


class Leafing:
    """Before a ModelAdmin: its list is read by leaves. Its filters are `accounts/sieves.py`'s."""

    linked_by: tuple[str, ...] = ("account__id__exact",)
    """What other pages' links may ask for besides the filters; an index serves each."""

    show_full_result_count = False
    sortable_by: tuple[str, ...] = ()
    list_disable_select_all = True
    list_filter_submit = True
    list_before_template = "admin/leaf_head.html"
    patience: float = PATIENCE

    def dress(self, rows: Collection[Any]) -> None:
        """Set what the columns show beside the rows' own fields, for a whole leaf at once."""

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        page: Any = self
        sieves = {getattr(spec, "parameter_name", None) for spec in page.get_list_filter(request)}
        return lookup in sieves or lookup in self.linked_by

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LeafList]:
        return LeafList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        view: Any = super()
        if request.method != "GET":
            answer: HttpResponseBase = view.changelist_view(request, extra_context)
            return answer
        if said := self._too_much(request):
            return HttpResponseRedirect(f"?{said}")
        try:
            with hurried(self.patience):
                page = view.changelist_view(request, extra_context)
                return page.render() if isinstance(page, TemplateResponse) else page
        except TooSlow:
            return self._too_slow(request)

    def _too_much(self, request: HttpRequest) -> str:
        """The same question without what no address should have in it, if it has some."""
        page, asked = cast(Any, self), request.GET.copy()
        for spec in page.get_list_filter(request):
            name = str(getattr(spec, "parameter_name", ""))
            if name in asked and hasattr(spec, "cut"):
                asked[name] = spec.cut(asked[name])
        return "" if asked == request.GET else asked.urlencode()

    def _too_slow(self, request: HttpRequest) -> HttpResponseBase:
        page: Any = self
        context = {**page.admin_site.each_context(request), "opts": page.opts,
                   "title": "This list took too long", "seconds": self.patience}  # fmt: skip
        return TemplateResponse(request, "admin/too_slow.html", context, status=503)
