"""From photographs to an audit: find them, read each once, and write what is wrong with them."""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import SparkSession

from dermaspark import audit, catalog, storage
from dermaspark.config import Config
from dermaspark.photographs import fingerprint_all
from dermaspark.preparation import count_found, read_groups


def examine(spark: SparkSession, config: Config) -> dict[str, Any]:
    """Audit the photographs of `input.path`, write the report's folder and return what audit.json holds.

    Raises:
        UserError: no such folder, no class folders, a groups table that can't be used, a finished audit.
    """
    url = storage.resolve(config.report.path)
    folders = catalog.class_folders(catalog.sources(config.input.path))
    table = read_groups(spark, config.input.groups)
    output = (url, audit.DOCUMENT, "report.path", config.overwrite, audit.ENTRIES)
    storage.reserve(*output)
    found = catalog.find(spark, folders).persist(StorageLevel.DISK_ONLY)
    total = count_found(found, len(folders))
    photographs = fingerprint_all(found.where("kind != 'other'"), total, config.input.max_pixels)
    result = audit.audit(
        photographs.persist(StorageLevel.DISK_ONLY), table, config.audit.near_copies, config.split.seed
    )
    storage.claim(*output)  # only now: an audit that fails leaves an earlier one as it is
    audit.write(spark, result, url, config.input.max_pixels)
    return result.figures
