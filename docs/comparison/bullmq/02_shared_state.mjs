// State that all handlers share.
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const mailer = { from: 'us' };
const emails = new Queue('emails', { connection });
const worker = new Worker('emails', async (job) => console.log(`from ${mailer.from} to ${job.data.to}`), { connection });
worker.on('completed', async () => { await worker.close(); await emails.close(); connection.disconnect(); });

await emails.add('send', { to: 'ada' });
