// BullMQ's worker with a handler that does nothing; with MARKS it tells when the handler of each event starts.
// BullMQ parses the job's JSON; nothing checks the event against a model.
"use strict";

const { openSync, writeSync } = require("node:fs");
const { Worker } = require("bullmq");

const store = new URL(process.env.STORE_URL);
const marks = process.env.MARKS ? openSync(process.env.MARKS, "a") : null;

const worker = new Worker(
  "events",
  async (job) => {
    if (marks !== null) writeSync(marks, `${job.data.data.contactId} ${process.hrtime.bigint()}\n`);
  },
  { connection: { host: store.hostname, port: Number(store.port) }, concurrency: Number(process.env.CONCURRENCY) },
);

process.on("SIGTERM", async () => {
  await worker.close();
  process.exit(0);
});
