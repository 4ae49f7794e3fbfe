// Fastify + BullMQ: verify the HMAC over the raw body, JSON.parse, one queue.add for each request, answer.
"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");
const Fastify = require("fastify");
const { Queue } = require("bullmq");

const store = new URL(process.env.STORE_URL);
const queue = new Queue("events", { connection: { host: store.hostname, port: Number(store.port) } });
const header = process.env.SIGNATURE_HEADER.toLowerCase();
const app = Fastify({ logger: false });

app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => done(null, body));

app.post(process.env.EVENT_PATH, async (request, reply) => {
  const expected = Buffer.from("sha256=" + createHmac("sha256", process.env.SECRET).update(request.body).digest("hex"));
  const given = Buffer.from(request.headers[header] ?? "");
  if (expected.length !== given.length || !timingSafeEqual(expected, given)) {
    return reply.code(401).send({ error: "signature" });
  }
  await queue.add("event", JSON.parse(request.body));
  return { status: "accepted" };
});

process.on("SIGTERM", async () => {
  await app.close();
  await queue.close();
  process.exit(0);
});

app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
