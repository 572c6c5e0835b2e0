// An attempt that takes too long is ended, and the job is retried.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => {
  console.log(`attempt ${job.attemptsStarted}`);
  const signal = AbortSignal.timeout(1000);
  if (job.attemptsStarted === 1) await sleep(60_000, undefined, { signal });
}, { connection });
worker.on('failed', (job, error) => console.log(`error: ${error.message}`));
worker.on('completed', async () => { await worker.close(); await emails.close(); connection.disconnect(); });

await emails.add('send', { to: 'ada' }, { attempts: 3, backoff: 1000 });
