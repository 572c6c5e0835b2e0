// A handler throws an unexpected error; the worker continues, and the job is retried.
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => {
  console.log(`${job.data.to} attempt ${job.attemptsStarted}`);
  if (job.attemptsStarted === 1) undefined.index;
}, { connection });
worker.on('failed', (job, error) => console.log(`error: ${error.stack.split('\n').slice(0, 2).join('')}`));
worker.on('completed', async () => { await worker.close(); await emails.close(); connection.disconnect(); });

await emails.add('send', { to: 'ada' }, { attempts: 3, backoff: 1000 });
