// On Ctrl-C running jobs get up to 5 s to finish; nothing is lost.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => {
  console.log(`begin ${job.data.to}`);
  await sleep(2000);
  console.log(`end ${job.data.to}`);
}, { connection });
process.on('SIGINT', async () => {
  await Promise.race([worker.close(), sleep(5000)]);
  console.log('stopped');
  process.exit();
});

await emails.add('send', { to: 'ada' });
