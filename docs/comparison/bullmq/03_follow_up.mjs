// A handler enqueues a job of another kind.
import { Queue, Worker } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
const archives = new Queue('archives', { connection });
const mailer = new Worker('emails', async (job) => { await archives.add('archive', { to: job.data.to }); }, { connection });
const archivist = new Worker('archives', async (job) => console.log(`archived the email to ${job.data.to}`), { connection });
archivist.on('completed', async () => {
  await Promise.all([mailer.close(), archivist.close(), emails.close(), archives.close()]);
  connection.disconnect();
});

await emails.add('send', { to: 'ada' });
