// The producer waits for what the handler returned.
import { Queue, QueueEvents, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
const events = new QueueEvents('emails', { connection });
const worker = new Worker('emails', async (job) => `sent to ${job.data.to}`, { connection });

const job = await emails.add('send', { to: 'ada' });
console.log(await job.waitUntilFinished(events, 60_000));
await Promise.all([worker.close(), events.close(), emails.close()]);
connection.disconnect();
