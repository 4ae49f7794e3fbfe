// Fastify + BullMQ: `receive`, `work`, or `fill` (queues what is on standard input, a body a line).
// BullMQ parses the job's JSON, and keeps the finished jobs, as it does by default. Nothing checks the event against a model.
"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");
const { openSync, readFileSync, writeSync } = require("node:fs");
const { Queue, Worker } = require("bullmq");

const BATCH = 500;
const { hostname, port } = new URL(process.env.STORE_URL);
const connection = { host: hostname, port: Number(port) };

async function fill() {
  const queue = new Queue("events", { connection });
  const jobs = readFileSync(0, "utf8").trimEnd().split("\n").map((line) => ({ name: "event", data: JSON.parse(line) }));
  for (let first = 0; first < jobs.length; first += BATCH) await queue.addBulk(jobs.slice(first, first + BATCH));
  await queue.close();
}

// Verifies the HMAC over the raw body, parses it, and makes one queue.add for each request.
function receive() {
  const queue = new Queue("events", { connection });
  const header = process.env.SIGNATURE_HEADER.toLowerCase();
  const app = require("fastify")({ logger: false });
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => done(null, body));
  app.post(process.env.EVENT_PATH, async (request, reply) => {
    const digest = createHmac("sha256", process.env.SECRET).update(request.body).digest("hex");
    const expected = Buffer.from("sha256=" + digest);
    const given = Buffer.from(request.headers[header] ?? "");
    if (expected.length !== given.length || !timingSafeEqual(expected, given)) {
      return reply.code(401).send({ error: "signature" });
    }
    await queue.add("event", JSON.parse(request.body));
    return { status: "accepted" };
  });
  closeAtSigterm(app, queue);
  app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
}

// The handler does nothing; with MARKS it writes down when it starts for each event.
function work() {
  const marks = process.env.MARKS ? openSync(process.env.MARKS, "a") : null;
  const handle = async (job) => {
    if (marks !== null) writeSync(marks, `${job.data.data.contactId} ${process.hrtime.bigint()}\n`);
  };
  closeAtSigterm(new Worker("events", handle, { connection, concurrency: Number(process.env.CONCURRENCY) }));
}

function closeAtSigterm(...open) {
  process.on("SIGTERM", async () => {
    for (const each of open) await each.close();
    process.exit(0);
  });
}

({ fill, receive, work })[process.argv[2]]();
