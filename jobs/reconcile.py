"""Stream against batch: every measure of every window, as the projection published it and as the log yields it again.

The batch side is computed here from the events alone, by the jobs' own transforms; the stream side is WindowMeasured as
it stands on the log. They share the table of posting rules, and no code that adds anything up.
"""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import functions as sf

from economy.scenario import Scenario
from jobs.activity import activity
from jobs.gdp import gdp
from jobs.gini import gini
from jobs.postings import EXACT, Booked, Source

VERSION: Final = 1
KEYS: Final = ("window", "indicator", "item")


def reconcile(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """(window, indicator, item, stream, batch, equal) of everything that either side knows; null where one does not."""
    batch = gdp(source, booked, scenario, windows)
    for transform in (gini, activity):
        batch = batch.unionByName(transform(source, booked, scenario, windows))
    return compared(source.frame("WindowMeasured", [*KEYS, "value"]), batch, windows)


def compared(stream: Any, batch: Any, windows: int) -> Any:
    """Both sides joined. A figure that the stream published twice with two values shows the one that is wrong."""
    published = stream.where(sf.col("window") < windows).groupBy(
        sf.col("window").cast("int").alias("window"), "indicator", "item"
    )
    published = published.agg(sf.min("value").cast(EXACT).alias("low"), sf.max("value").cast(EXACT).alias("high"))
    both = published.join(batch.withColumnRenamed("value", "batch"), list(KEYS), "full_outer")
    stream_value = sf.when(sf.col("low") == sf.col("batch"), sf.col("high")).otherwise(sf.col("low"))
    both = both.withColumn("stream", stream_value)
    equal = sf.coalesce(sf.col("stream") == sf.col("batch"), sf.lit(False))
    return both.select(*KEYS, "stream", "batch", equal.cast("int").alias("equal"))


def disagreements(rows: Any) -> Any:
    """The rows that a person must look at: none, when all is well."""
    return rows.where("equal = 0")
