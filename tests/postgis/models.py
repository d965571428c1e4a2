"""Models for the tests; they belong to no installed app."""

from django.contrib.gis.db import models
from django.contrib.gis.gdal import GDALRaster
from django.contrib.gis.geos import Point, Polygon


class Place(models.Model):
    name = models.TextField()
    at = models.PointField(srid=4326)
    on_earth = models.PointField(geography=True)
    area = models.PolygonField(srid=3857, null=True)

    class Meta:
        app_label = "places"

    def __str__(self):
        return self.name


class Picture(models.Model):
    rast = models.RasterField(srid=4326)

    class Meta:
        app_label = "places"

    def __str__(self):
        return str(self.pk)


def create_tables(connection, *tables):
    with connection.schema_editor() as editor:
        for model in tables or (Place,):
            editor.create_model(model)


def a_square(side):
    return Polygon(((0, 0), (0, side), (side, side), (side, 0), (0, 0)), srid=3857)


def make_place(number):
    at = Point(number, number / 2, srid=4326)
    return Place.objects.create(name=f"{number}", at=at, on_earth=at, area=a_square(number + 1))


def assert_place(number):
    """Read a place back, with all that is in it."""
    place = Place.objects.get(name=f"{number}")
    assert place.at.equals(Point(number, number / 2, srid=4326))
    assert (place.at.srid, place.on_earth.srid, place.area.srid) == (4326, 4326, 3857)
    assert place.on_earth.coords == (number, number / 2)
    assert place.area.area == (number + 1) ** 2


def a_raster():
    return GDALRaster(
        {
            "width": 2,
            "height": 2,
            "srid": 4326,
            "origin": (1, 2),
            "scale": (1, -1),
            "bands": [{"data": [1, 2, 3, 4], "nodata_value": 9}],
        }
    )
