"""Make the bucket of docker-compose.yml, and let browsers read from it (RUSHES_S3_LINKS=True)."""

import os
import time
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

SECONDS = 60  # an S3 server that answers may not be able to write yet
CORS = {
    "CORSRules": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["Accept-Ranges", "Content-Length", "Content-Range", "ETag"],
        }
    ]
}


def main() -> None:
    bucket = os.environ["RUSHES_S3_BUCKET"]
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["RUSHES_S3_ENDPOINT_URL"],
        region_name=os.environ["RUSHES_S3_REGION"],
        aws_access_key_id=os.environ["RUSHES_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["RUSHES_S3_SECRET_ACCESS_KEY"],
    )
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            make(s3, bucket)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the bucket {bucket} cannot be made: {error}") from None
            time.sleep(0.5)
        else:
            print(f"the bucket {bucket} is there")
            return


def make(s3: Any, bucket: str) -> None:
    """Create the bucket if it does not exist, set its CORS rules, and write to it once.

    Raises botocore's errors.
    """
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    s3.put_object(Bucket=bucket, Key="probe.txt", Body=b"probe")
    s3.delete_object(Bucket=bucket, Key="probe.txt")


if __name__ == "__main__":
    main()
