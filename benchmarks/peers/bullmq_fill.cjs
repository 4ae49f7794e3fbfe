// Queues what is on stdin, a body a line, with addBulk.
"use strict";

const { readFileSync } = require("node:fs");
const { Queue } = require("bullmq");

const BATCH = 500;
const store = new URL(process.env.STORE_URL);
const queue = new Queue("events", { connection: { host: store.hostname, port: Number(store.port) } });

(async () => {
  const jobs = readFileSync(0, "utf8").trimEnd().split("\n").map((line) => ({ name: "event", data: JSON.parse(line) }));
  for (let first = 0; first < jobs.length; first += BATCH) await queue.addBulk(jobs.slice(first, first + BATCH));
  await queue.close();
})();
