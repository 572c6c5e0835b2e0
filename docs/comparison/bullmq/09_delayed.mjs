// A job that runs after a delay of 2 s.
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const started = Date.now();
const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => {
  console.log(`${job.data.to} after ${(Date.now() - started) / 1000} s`);
}, { connection });
worker.on('completed', async () => { await worker.close(); await emails.close(); connection.disconnect(); });

await emails.add('send', { to: 'ada' }, { delay: 2000 });
