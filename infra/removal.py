"""Deletion of runs: their rows in ClickHouse at once, their records on the log as far as no other run needs them."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from economy.errors import InputError, ProtocolError
from queries.store import Store
from runs.control import mark_deleted
from runs.log import find_run, list_runs
from schemas.catalogue import topic
from schemas.clickhouse_server import ClickHouseConfig
from schemas.log.reader import LogReader, Place


def delete_run(bootstrap: str, namespace: str, run: int, tables: ClickHouseConfig | None) -> dict[str, Any]:
    """Delete a run that has ended. Raises InputError for one that goes on or that others were forked from.

    Runs share the topics, and Kafka deletes from the front only: space on the log is given back up to the first
    record of the oldest run that is left.
    """
    info = find_run(bootstrap, namespace, run)
    if info.going_on:
        raise InputError("run", run, f"it is {info.state}: end it first with `escape stop {run}`")
    others = [other for other in list_runs(bootstrap, namespace) if other.run != run]
    forks = [str(other.run) for other in others if other.started["parent"] == run]
    if forks:
        raise InputError("run", run, f"runs were forked from it, delete them first: {', '.join(forks)}")
    dropped = _drop(tables, run) if tables is not None else []
    mark_deleted(bootstrap, namespace, run)
    freed = _free(bootstrap, namespace, info.started["start_offsets"], [o.started["start_offsets"] for o in others])
    return {"run": run, "tables": dropped, "records": freed}


def _drop(tables: ClickHouseConfig, run: int) -> list[str]:
    """Delete the run's rows of every table that has a column `run`; returns the names of the tables."""
    with Store(tables) as store:
        names = store.rows(
            "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'run' ORDER BY table"
        )
        found = []
        for row in names:
            if store.rows(f"SELECT 1 AS one FROM `{row['table']}` WHERE run = {{run:Int64}} LIMIT 1", {"run": run}):
                store.command(f"ALTER TABLE `{row['table']}` DELETE WHERE run = {int(run)} SETTINGS mutations_sync = 1")
                found.append(row["table"])
        return found


def _free(bootstrap: str, namespace: str, own: dict[str, list[int]], others: list[dict[str, list[int]]]) -> int:
    """Delete from the front up to the oldest run that is left; returns the number of offsets given back."""
    places: list[Place] = [(family, p) for family, offsets in own.items() for p in range(len(offsets))]
    with LogReader(bootstrap, namespace, {}) as reader:
        begin, end = reader.begin_offsets(places), reader.end_offsets(places)
    upto = {
        place: min([o[place[0]][place[1]] for o in others if place[1] < len(o.get(place[0], ()))], default=end[place])
        for place in places
    }
    wanted = {place: offset for place, offset in upto.items() if offset > begin[place]}
    if not wanted:
        return 0
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    asked = [TopicPartition(topic(namespace, family), p, offset) for (family, p), offset in wanted.items()]
    for future in admin.delete_records(asked, operation_timeout=20).values():
        try:
            future.result(20)
        except KafkaException as error:
            raise ProtocolError(f"records cannot be deleted: {error}", "see the broker's log") from error
    return sum(offset - begin[place] for place, offset in wanted.items())
