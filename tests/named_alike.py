"""Two models, one with columns named like what looks back, and what a site does with them."""

from contextlib import contextmanager

from django.db import models, transaction
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    Max,
    OuterRef,
    Q,
    Subquery,
    When,
    Window,
)
from django.db.models.functions import Coalesce, Lag

NAMES = [
    *("previous", "value", "show_email", "identity", "warnings", "currval", "changes"),
    *("row_count", "lastval", "last_insert_id", "found_rows", "insert_id", "warning_count"),
    *("error_count", "last_gtid", "errors", "diagnostics", "total_changes", "last_insert_rowid"),
]


class Plain(models.Model):
    n = models.IntegerField(default=0)
    parent = models.ForeignKey("self", models.CASCADE, null=True)

    class Meta:
        app_label = "named_alike"

    def __str__(self):
        return str(self.n)


class Named(models.Model):
    class Meta:
        app_label = "named_alike"

    def __str__(self):
        return str(self.pk)


for name in NAMES:
    Named.add_to_class(name, models.IntegerField(default=0, db_index=True))


@contextmanager
def texts_of(connection, instead=()):
    """Collect the statements of a connection; what is `instead` is executed in their place."""
    sent = []

    def note(execute, sql, params, many, context):
        sent.append(sql)
        return execute(*instead, context) if instead else execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield sent


def work(connection):
    """Do what a site does; the connection is django.db's default."""
    with connection.schema_editor() as editor:
        editor.create_model(Plain)
        editor.create_model(Named)
    write(connection.features)
    for name in NAMES:
        read_columns(name)
        read_aliases(name)
    Named.objects.filter(pk__gt=0).delete()
    Plain(pk=1).delete()


def write(features):
    rows = [Named(), *(Named(pk=pk) for pk in range(102, 104))]
    rows[0].save()
    Named.objects.bulk_create([*rows[1:], Named(), Named()])
    if features.supports_ignore_conflicts:
        Named.objects.bulk_create(rows, ignore_conflicts=True)
    if features.supports_update_conflicts:
        unique = ["pk"] if features.supports_update_conflicts_with_target else None
        Named.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=unique, update_fields=NAMES
        )
    Named.objects.bulk_update(rows, NAMES)
    with transaction.atomic():
        list(Named.objects.select_for_update().order_by(*NAMES))


def read_columns(name):
    column, every = F(name), Named.objects
    every.filter(**{f"{name}__in": [7, 8]}).delete()
    every.filter(**{f"{name}__gt": column + 1}).update(**{name: (column + 1) * 2})
    every.update(**{name: Case(When(**{name: 1}, then=2), default=column)})
    every.aggregate(Max(name))
    alike = every.filter(**{name: OuterRef(name)})
    for query in [
        every.order_by(name).reverse().only(name),
        every.filter(~Q(**{name: column}) | Q(**{f"{name}__isnull": True})).exclude(**{name: 3}),
        every.values(name).annotate(count=Count("pk")).filter(count__gt=1),
        every.annotate(other=Window(Lag(name), partition_by=name, order_by=name)),
        every.annotate(other=Coalesce(name, -column), there=Exists(alike)).filter(other=1),
        every.annotate(other=Subquery(alike.values(name)[:1])).values_list("other", name),
        every.values(name).union(every.values(name), all=True),
    ]:
        list(query)


def read_aliases(name):
    every = Plain.objects
    joined = FilteredRelation("parent", condition=Q(parent__n__gt=1))
    for query in [
        every.annotate(**{name: F("n") + 1}).filter(**{name: 1}).order_by(name),
        every.values("parent").annotate(**{name: Count("pk")}).filter(**{f"{name}__gt": 1}),
        every.annotate(**{name: joined}).filter(**{f"{name}__n": 1}).order_by(f"{name}__n"),
    ]:
        list(query)
