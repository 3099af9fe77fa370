// Lends the official node client to a test: a JSON line in names a method, a JSON line out tells
// what came of it. The first line is what the client is constructed with.
import { createInterface } from 'node:readline';
import { Nango } from '@nangohq/node';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const nango = new Nango(JSON.parse((await lines.next()).value));

for await (const line of lines) {
    const { method, args } = JSON.parse(line);
    process.stdout.write(`${JSON.stringify(await outcome(method, args))}\n`);
}

async function outcome(method, args) {
    try {
        // JSON cannot say undefined, which is what the positional forms leave a gap with.
        return { value: told(await nango[method](...args.map((arg) => arg ?? undefined))) };
    } catch (error) {
        const { name, message, response } = error;
        return { error: { name, message, status: response?.status, data: response?.data } };
    }
}

// Some methods return axios's whole response, which holds its socket.
function told(value) {
    if (value?.config === undefined || value.request === undefined) return value;
    return { status: value.status, headers: value.headers, data: value.data };
}
