// A thousand jobs in few round trips.
import { Queue } from 'bullmq';
import { connection } from './shared.mjs';

const emails = new Queue('emails', { connection });
await emails.addBulk(Array.from({ length: 1000 }, (_, n) => ({ name: 'send', data: { to: `user-${n}` } })));
console.log('enqueued');
await emails.close();
connection.disconnect();
