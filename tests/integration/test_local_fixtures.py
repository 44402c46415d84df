"""The shared servers of the test run do real work."""

import asyncio

import psycopg
import pytest


@pytest.mark.parametrize("turn", [1, 2])
def test_each_database_is_new_and_empty(turn, fresh_database):
    """Two calls give two databases without tables, on a server with logical replication."""
    with psycopg.connect(fresh_database()) as one, psycopg.connect(fresh_database()) as two:
        assert one.info.dbname != two.info.dbname
        assert one.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert two.execute("SHOW wal_level").fetchone() == ("logical",)


def test_a_bucket_takes_objects_of_a_real_client(s3, s3_bucket):
    """boto3, an S3 client of other people, reads what it wrote."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "s3", endpoint_url=s3.endpoint, aws_access_key_id=s3.key, aws_secret_access_key=s3.secret, region_name=s3.region
    )
    client.put_object(Bucket=s3_bucket, Key="a/b c+d", Body=b"rows")
    assert client.get_object(Bucket=s3_bucket, Key="a/b c+d")["Body"].read() == b"rows"
    client.close()


def test_the_broker_gives_back_what_it_took(kafka_bootstrap):
    """A record that was acknowledged can be fetched by `assign()`."""
    from meshkit.local.graph import KafkaProbe
    from meshkit.local.probes import check

    asyncio.run(check(KafkaProbe(int(kafka_bootstrap.rpartition(":")[2]), topic="t-fixtures"), timeout_seconds=20))
