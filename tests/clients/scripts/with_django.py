"""Django: an application whose tables `migrate` makes and changes, objects that are kept in them, and models of what is there."""

import datetime
import decimal
import io
import pathlib
import subprocess
import sys
import tempfile
import uuid

import django
from django.conf import settings
from django.core.management import call_command

from steps import PORT, run

MODELS = '''
import uuid

from django.db import models


class Site(models.Model):
    name = models.CharField(max_length=40, unique=True)
    opened = models.DateField(null=True)


class Measurement(models.Model):
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="measurements")
    key = models.UUIDField(default=uuid.uuid4)
    value = models.FloatField(null=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    taken = models.DateTimeField()
    details = models.JSONField(default=dict)
    raw = models.BinaryField(null=True)
    is_valid = models.BooleanField(default=True)
    note = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["taken"]
        indexes = [models.Index(fields=["site", "taken"], name="by_site")]
        constraints = [
            models.UniqueConstraint(fields=["site", "taken"], name="once_a_moment"),
            models.CheckConstraint(condition=models.Q(price__gte=0), name="not_negative"),
        ]
'''
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def application(folder):
    """A folder with the application `lab`, whose migrations Django writes."""
    package = pathlib.Path(folder) / "lab"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "migrations" / "__init__.py").touch()
    (package / "models.py").write_text(MODELS)
    sys.path.insert(0, folder)
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "lab"],
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": PORT,
                               "USER": "postgres", "NAME": "postgres"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        TIME_ZONE="UTC",
    )
    django.setup()
    return package


def told(*command, **options):
    out = io.StringIO()
    call_command(*command, stdout=out, **options)
    return out.getvalue()


def migrates():
    told("makemigrations", "lab")
    assert "Applying lab.0001_initial... OK" in told("migrate")
    assert "No migrations to apply" in told("migrate")
    assert "[X] 0001_initial" in told("showmigrations", "lab")
    assert "No changes detected" in told("makemigrations", "lab", check=True)


def keeps_objects():
    from lab.models import Measurement, Site

    site = Site.objects.create(name="north", opened=DAY.date())
    key = uuid.uuid4()
    made = Measurement.objects.create(
        site=site, key=key, value=1.5, price=decimal.Decimal("10.25"), taken=DAY,
        details={"kind": "wind", "tags": ["a", "b"]}, raw=b"\x00\xff", note="first",
    )
    found = Measurement.objects.select_related("site").get(pk=made.pk)
    assert (found.site.name, found.key, found.price, found.taken) == ("north", key, decimal.Decimal("10.25"), DAY)
    assert bytes(found.raw) == b"\x00\xff" and found.details["tags"] == ["a", "b"]
    found.value = 2.5
    found.save()
    assert Measurement.objects.filter(site__name__startswith="no", value__gt=2).count() == 1
    other, is_new = Site.objects.get_or_create(name="south", defaults={"opened": None})
    assert is_new and Site.objects.get_or_create(name="south") == (other, False)
    assert Site.objects.update_or_create(name="south", defaults={"opened": DAY.date()})[1] is False


def writes_many_objects():
    from django.db.models import F
    from lab.models import Measurement, Site

    site = Site.objects.get(name="south")
    hours = [DAY + datetime.timedelta(hours=hour) for hour in range(48)]
    made = Measurement.objects.bulk_create(
        Measurement(site=site, value=hour % 24, taken=taken, price=hour, details={"hour": hour}) for hour, taken in enumerate(hours)
    )
    assert all(each.pk for each in made) and len({each.pk for each in made}) == 48
    for each in made[:10]:
        each.note = "seen"
    assert Measurement.objects.bulk_update(made[:10], ["note"]) == 10
    assert Measurement.objects.filter(site=site, note="").update(value=F("value") + 1) == 38
    again = Measurement(site=site, taken=hours[0], price=99)
    fields = {"update_conflicts": True, "unique_fields": ["site", "taken"], "update_fields": ["price"]}
    Measurement.objects.bulk_create([again], **fields)
    assert Measurement.objects.get(site=site, taken=hours[0]).price == 99
    Measurement.objects.bulk_create([Measurement(site=site, taken=hours[0])], ignore_conflicts=True)
    assert Measurement.objects.filter(site=site).count() == 48


def asks_for_much():
    from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Q, Subquery, Sum, Window
    from django.db.models.functions import ExtractHour, RowNumber, TruncDay, Upper
    from lab.models import Measurement, Site

    days = Measurement.objects.annotate(day=TruncDay("taken")).values("day").annotate(n=Count("id")).order_by("day")
    assert [row["n"] for row in days] == [25, 24], list(days)
    sites = Site.objects.annotate(n=Count("measurements"), most=Max("measurements__price")).order_by("name")
    assert [(site.name, site.n) for site in sites] == [("north", 1), ("south", 48)], list(sites)
    latest = Measurement.objects.filter(site=OuterRef("pk")).order_by("-taken").values("value")[:1]
    assert Site.objects.annotate(latest=Subquery(latest)).get(name="south").latest == 24
    assert Site.objects.filter(Exists(Measurement.objects.filter(site=OuterRef("pk"), price__gt=50))).count() == 1
    window = Window(RowNumber(), partition_by=F("site"), order_by=F("taken").desc())
    assert Measurement.objects.annotate(place=window).filter(place=1).count() == 2
    assert Measurement.objects.filter(details__kind="wind").count() == 1
    assert Measurement.objects.filter(details__tags__contains=["a"]).count() == 1
    assert Measurement.objects.filter(details__has_key="hour").count() == 48
    assert Measurement.objects.filter(details__hour=40).count() == 1
    assert Measurement.objects.annotate(hour=ExtractHour("taken")).filter(hour=23).count() == 2
    assert Measurement.objects.filter(taken__date=DAY.date(), taken__hour__in=[1, 2]).count() == 2
    assert Site.objects.filter(Q(name__iexact="NORTH") | Q(name__regex="^s.*h$")).count() == 2
    assert Site.objects.annotate(loud=Upper("name")).order_by("-loud").first().loud == "SOUTH"
    sums = Measurement.objects.aggregate(total=Sum("price"), mean=Avg("value", filter=Q(site__name="south")))
    assert sums["total"] == decimal.Decimal("1237.25"), sums
    assert list(Measurement.objects.dates("taken", "month")) == [DAY.date()]
    assert sum(1 for _ in Measurement.objects.iterator(chunk_size=7)) == 49
    assert Site.objects.filter(name="north").union(Site.objects.filter(name="south")).count() == 2
    assert Site.objects.all().explain()


def keeps_to_transactions():
    from django.db import IntegrityError, transaction
    from lab.models import Measurement, Site

    try:
        with transaction.atomic():
            Site.objects.create(name="west")
            raise KeyError
    except KeyError:
        pass
    assert not Site.objects.filter(name="west").exists()
    with transaction.atomic():
        Site.objects.create(name="west")
        try:
            with transaction.atomic():
                Site.objects.create(name="north")
                raise AssertionError("no error")
        except IntegrityError as error:
            assert "lab_site_name" in str(error), error
        Site.objects.select_for_update().filter(name="west").update(name="east")
    assert Site.objects.filter(name="east").exists()
    try:
        Measurement.objects.create(site=Site.objects.first(), taken=DAY - datetime.timedelta(1), price=-1)
        raise AssertionError("no error")
    except IntegrityError as error:
        assert "not_negative" in str(error), error
    Site.objects.get(name="east").delete()
    assert Measurement.objects.filter(site__name="north").delete()[0] == 1


def has_users():
    from django.contrib.auth import authenticate
    from django.contrib.auth.models import Group, Permission, User

    user = User.objects.create_user("ann", "ann@example.org", "secret")
    assert authenticate(username="ann", password="secret") == user and authenticate(username="ann", password="x") is None
    group = Group.objects.create(name="people")
    group.permissions.add(Permission.objects.get(codename="add_site"))
    user.groups.add(group)
    user = User.objects.get(username="ann")
    assert user.has_perm("lab.add_site") and not user.has_perm("lab.delete_site")
    assert {name for name, in User.objects.values_list("groups__name")} == {"people"}
    user.groups.clear()
    user.delete()


def describes_what_is_there():
    text = told("inspectdb", "lab_measurement", "readings", "high", include_views=True)
    for part in (
        "site = models.ForeignKey('LabSite', models.DO_NOTHING)", "details = models.JSONField()", "key = models.UUIDField()",
        "price = models.DecimalField(max_digits=10, decimal_places=2)", "unique_together = (('site', 'taken'),)",
        "class Readings(models.Model):", "db_table_comment = 'what was measured'", "class High(models.Model):",
    ):
        assert part in text, (part, text)


def migrates_again():
    changed = MODELS.replace("max_length=40", "max_length=80").replace("note = models.TextField(blank=True, default=\"\")",
                                                                      "remark = models.TextField(null=True)\n    level = models.IntegerField(default=3, db_index=True)")
    (PACKAGE / "models.py").write_text(changed)
    script = (
        "import sys, django; from django.conf import settings; sys.path.insert(0, sys.argv[1])\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth', 'lab'], USE_TZ=True,"
        " DEFAULT_AUTO_FIELD='django.db.models.BigAutoField', DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql',"
        " 'HOST': '127.0.0.1', 'PORT': sys.argv[2], 'USER': 'postgres', 'NAME': 'postgres'}})\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('makemigrations', 'lab', interactive=False); call_command('migrate')\n"
        "from lab.models import Measurement\n"
        "assert Measurement.objects.filter(level=3).count() == 48\n"
        "call_command('migrate', 'lab', '0001'); call_command('migrate', 'lab'); call_command('migrate', 'lab', 'zero')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(PACKAGE.parent), PORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


with tempfile.TemporaryDirectory() as folder:
    PACKAGE = application(folder)
    run(migrates, keeps_objects, writes_many_objects, asks_for_much, keeps_to_transactions, has_users, describes_what_is_there,
        migrates_again)
