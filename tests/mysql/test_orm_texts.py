"""All that Django's ORM sends is clean: run on a MariaDB, and written as for MySQL 8."""

import datetime as dt

import pytest
from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Subquery, Value, When, Window
from django.db.models import aggregates as agg
from django.db.models import functions as fn
from django.db.models.fields.json import KT

from carpool.mysql.effects import classify


class Author(models.Model):
    name = models.CharField(max_length=20, unique=True)

    class Meta:
        app_label = "orm_texts"

    def __str__(self):
        return self.name


class Book(models.Model):
    name = models.CharField(max_length=20)
    pages = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=9, decimal_places=2, default=0)
    rate = models.FloatField(default=0.5)
    day = models.DateField(default=dt.date(2020, 1, 1))
    moment = models.DateTimeField(default=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    hour = models.TimeField(default=dt.time(1, 2))
    took = models.DurationField(default=dt.timedelta(1))
    data = models.JSONField(default=dict)
    cover = models.BinaryField(default=b"")
    author = models.ForeignKey(Author, models.CASCADE)
    readers = models.ManyToManyField(Author, related_name="read")

    class Meta:
        app_label = "orm_texts"

    def __str__(self):
        return self.name


BOOKS = Book.objects
RANK = {"partition_by": "author", "order_by": "pages"}
EXPRESSIONS = [
    *(fn.Cast("name", field) for field in (models.CharField(max_length=5), models.TextField())),
    *(fn.Cast("pages", field) for field in (models.IntegerField(), models.FloatField())),
    fn.Cast("name", models.DateTimeField()),
    fn.Cast("name", models.JSONField()),
    fn.Cast("pages", models.DecimalField(max_digits=9, decimal_places=2)),
    *(fn.Coalesce("name", Value("x")), fn.Greatest("pages", 5), fn.Least("pages", 5)),
    *(fn.NullIf("name", Value("x")), fn.Collate("name", "utf8mb4_bin")),
    fn.JSONObject(a="name", b=fn.Lower("name")),
    fn.JSONArray("name", "pages"),
    *(cls("moment", "month") for cls in (fn.Trunc, fn.Extract)),
    *(
        cls("moment")
        for cls in (fn.TruncDate, fn.TruncTime, fn.TruncYear, fn.TruncQuarter, fn.TruncMonth)
    ),
    *(cls("moment") for cls in (fn.TruncWeek, fn.TruncDay, fn.TruncHour, fn.TruncSecond)),
    *(cls("day") for cls in (fn.ExtractIsoYear, fn.ExtractWeek, fn.ExtractWeekDay)),
    *(cls("day") for cls in (fn.ExtractIsoWeekDay, fn.ExtractQuarter, fn.ExtractYear)),
    *(fn.TruncHour("hour"), fn.ExtractMinute("hour"), fn.TruncYear("day"), fn.Now(), fn.Random()),
    *(cls("rate") for cls in (fn.Abs, fn.ACos, fn.ASin, fn.ATan, fn.Ceil, fn.Cos, fn.Cot, fn.Exp)),
    *(cls("rate") for cls in (fn.Degrees, fn.Floor, fn.Ln, fn.Radians, fn.Round, fn.Sign, fn.Sin)),
    *(cls("rate") for cls in (fn.Sqrt, fn.Tan)),
    *(fn.Pi(), fn.ATan2("rate", 2.0), fn.Log("rate", 3), fn.Mod("pages", 3), fn.Power("rate", 2)),
    *(cls("name") for cls in (fn.Length, fn.Lower, fn.Upper, fn.LTrim, fn.RTrim, fn.Trim, fn.Ord)),
    *(cls("name") for cls in (fn.MD5, fn.SHA1, fn.SHA224, fn.SHA256, fn.SHA384, fn.SHA512)),
    *(fn.Chr("pages"), fn.Concat("name", Value("x"), "name"), fn.Left("name", 2)),
    *(fn.Right("name", 2), fn.LPad("name", 9, Value("x")), fn.RPad("name", 9, Value("x"))),
    *(fn.Repeat("name", 3), fn.Replace("name", Value("a"), Value("b")), fn.Reverse("name")),
    *(fn.StrIndex("name", Value("a")), fn.Substr("name", 1, 2)),
    *(F("pages") + 1, F("pages") % 3, F("pages") ** 2, F("pages").bitand(1), F("pages").bitxor(2)),
    *(F("pages").bitleftshift(1), F("pages").bitrightshift(1), F("rate") / 3 - F("pages") * 2),
    *(F("moment") + F("took"), F("moment") - F("moment"), F("hour") - F("hour")),
    F("moment") + dt.timedelta(1, 2, 3),
    Case(When(pages__gt=3, then=Value("a")), When(Q(name="x") | ~Q(rate=1), then="name")),
    *(Exists(BOOKS.filter(author=OuterRef("author"))), Value(5), KT("data__a__0")),
    Subquery(BOOKS.filter(author=OuterRef("author")).values("name")[:1]),
    *(Window(cls(), **RANK) for cls in (fn.RowNumber, fn.Rank, fn.DenseRank, fn.CumeDist)),
    *(Window(cls("pages"), **RANK) for cls in (fn.FirstValue, fn.LastValue, fn.Lag, fn.Lead)),
    *(Window(fn.NthValue("pages", 2), **RANK), Window(fn.Ntile(3), **RANK)),
    *(Window(fn.PercentRank(), **RANK), Window(agg.Sum("pages"))),
    Window(agg.Avg("pages"), order_by="day", frame=models.RowRange(start=-2, end=0)),
]
AGGREGATES = [
    *(cls("pages") for cls in (agg.Avg, agg.Count, agg.Max, agg.Min, agg.StdDev, agg.Sum)),
    *(agg.Variance("pages"), agg.StdDev("pages", sample=True), agg.Count("*")),
    *(agg.Count("name", distinct=True), agg.Sum("pages", filter=Q(rate__gt=0))),
    *(cls("name", Value(", ")) for cls in [getattr(agg, "StringAgg", None)] if cls),  # Django 6.0
]
TEXT = ["exact", "iexact", "contains", "icontains", "startswith", "istartswith", "endswith"]
TEXT += ["iendswith", "regex", "iregex", "gt", "gte", "lt", "lte"]
LOOKUPS = [
    *({f"name__{lookup}": "a%_\\'b"} for lookup in TEXT if "regex" not in lookup),
    *({f"name__{lookup}": "a.*"} for lookup in TEXT if "regex" in lookup),
    *({f"name__{lookup}": F("author__name")} for lookup in TEXT),
    *({f"data__a__{lookup}": "x"} for lookup in TEXT),
    *({"name__in": ["a", "b"]}, {"pages__range": (1, 2)}, {"name__isnull": True}, {"author": 1}),
    *({"data__contains": {"a": 1}}, {"data__contained_by": {"a": 1}}, {"data__a__0__in": [1, 2]}),
    *({"data__has_key": "a"}, {"data__has_keys": ["a", "b"]}, {"data__has_any_keys": ["a", "b"]}),
    *({"data__a": None}, {"data": {"a": 1}}, {"data__a__isnull": True}, {"data__a": [1]}),
    *({"day__year": 2020, "day__week": 3}, {"moment__date": dt.date(2020, 1, 1)}),
    *({"moment__hour__gte": 3, "moment__iso_year": 2020}, {"took__gt": dt.timedelta(1)}),
    *({"author__in": Author.objects.filter(name="x")}, {"readers__name": "x"}, {"cover": b"\x00"}),
]
QUERIES = [
    *(BOOKS.annotate(x=expression).order_by("x") for expression in EXPRESSIONS),
    *(BOOKS.values("author").annotate(x=a).filter(x__isnull=False) for a in AGGREGATES),
    *(BOOKS.filter(**lookup) for lookup in LOOKUPS),
    *(BOOKS.exclude(**lookup).values("pk") for lookup in LOOKUPS),
    BOOKS.select_related("author").distinct().order_by("?"),
    BOOKS.values("name").union(Author.objects.values("name"), all=True).order_by("name")[1:3],
    BOOKS.values("name").intersection(Author.objects.values("name")),
    BOOKS.values("name").difference(Author.objects.values("name")),
    BOOKS.annotate(n=Count("readers")).filter(n__gt=1).filter(name="x").order_by("-n"),
    BOOKS.annotate(r=Window(fn.RowNumber(), **RANK)).filter(r__lte=2),
    BOOKS.annotate(a=fn.Upper("name")).values("a").annotate(n=Count("pk")).order_by("n"),
]

# MariaDB has no ANY_VALUE, and neither has Django before 6.0.
FOR_MYSQL = [
    BOOKS.values("author").annotate(x=cls("name"))
    for cls in [getattr(agg, "AnyValue", None)]
    if cls
]


@pytest.fixture
def connection(mariadb, django_databases):
    """Stock Django's connection, with the tables of the two models."""
    mariadb.create_database("orm")
    entry = {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "orm",
        "USER": mariadb.params["user"],
        "HOST": mariadb.params["host"],
        "PORT": mariadb.port,
        "OPTIONS": {"charset": "utf8mb4"},
    }
    connection = django_databases(default=entry)["default"]
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    yield connection
    connection.close()
    mariadb.drop_database("orm")


@pytest.fixture
def texts(connection):
    """All texts that Django sends, as it gives them to the driver."""
    sent = []

    def note(execute, sql, params, many, context):
        sent.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield sent
    assert {sql: reason for sql in sent if (reason := classify(sql))} == {}


def test_queries(connection, texts):
    for query in QUERIES:
        list(query)
    assert len(texts) == len(QUERIES) > 200


def test_queries_written_for_mysql(connection):
    """The same, not run: there is no MySQL here."""
    mysql = connection.copy()
    vars(mysql)["mysql_server_data"] = connection.mysql_server_data | {"version": "8.4.0"}
    assert not mysql.mysql_is_mariadb
    for query in QUERIES + FOR_MYSQL:
        sql, _params = query.all().query.get_compiler(connection=mysql).as_sql()
        assert classify(sql) is None, sql


def test_changes(connection, texts):
    from django.db import transaction  # noqa: PLC0415 - beside this module's fixtures

    with transaction.atomic():
        ann = Author.objects.create(name="Ann")
        with transaction.atomic():
            book, _made = BOOKS.get_or_create(name="a", author=ann)
        Book.readers.through.objects.bulk_create([Book.readers.through(book=book, author=ann)])
        BOOKS.select_for_update(of=(), skip_locked=False).get(pk=book.pk)
    BOOKS.bulk_create([Book(name=name, author=ann) for name in "bcd"])
    Author.objects.bulk_create([Author(name="Bob"), Author()], ignore_conflicts=True)
    Author.objects.bulk_create([Author(name="Bob")], update_conflicts=True, update_fields=["name"])
    BOOKS.update_or_create(name="a", defaults={"pages": F("pages") + 1, "cover": b"x"})
    BOOKS.filter(name="b").update(
        data={"a": 1}, day=fn.Now(), pages=Subquery(Author.objects.values("pk")[:1])
    )
    for book in (books := list(BOOKS.all())):
        book.pages = 5
    BOOKS.bulk_update(books, ["pages", "data"])
    BOOKS.filter(author__name="x").update(pages=1)
    book.save(force_update=True)
    BOOKS.filter(readers__name="x").delete()
    Book.readers.through.objects.all().delete()
    BOOKS.all().delete()
    ann.delete()
    assert any(text.startswith("SAVEPOINT") for text in texts)


def test_questions(connection, texts):
    BOOKS.filter(name="x").explain()
    BOOKS.filter(name="x").explain(format="JSON")
    BOOKS.filter(name="x").explain(analyze=True)
    assert not BOOKS.exists()
    BOOKS.aggregate(*AGGREGATES[:3])
    BOOKS.dates("day", "month").count()
    BOOKS.datetimes("moment", "hour").count()
    list(BOOKS.raw("SELECT * FROM orm_texts_book WHERE name = %s", ["x"]))
    with connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            connection.introspection.get_table_description(cursor, name)
            connection.introspection.get_constraints(cursor, name)
            connection.introspection.get_relations(cursor, name)
    connection.check_constraints()
    assert connection.is_usable()
