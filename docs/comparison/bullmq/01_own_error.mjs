// An error type of your own: one of its values is retried, the other is not.
import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { connection } from './shared.mjs';

class Busy extends Error {}
class NoSuchAddress extends UnrecoverableError {}

const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => {
  console.log(`${job.data.to} attempt ${job.attemptsStarted}`);
  if (job.data.to === 'nobody') throw new NoSuchAddress(`no such address: ${job.data.to}`);
  if (job.attemptsStarted === 1) throw new Busy('the mail server is busy');
}, { connection });
worker.on('completed', async () => { await worker.close(); await emails.close(); connection.disconnect(); });

await emails.add('send', { to: 'nobody' }, { attempts: 3, backoff: 1000 });
await emails.add('send', { to: 'ada' }, { attempts: 3, backoff: 1000 });
