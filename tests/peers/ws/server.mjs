// A broadcaster on the npm package ws, written for speed: a room's message is framed once, and the same bytes go to
// every socket with one write each. `node server.mjs PORT`.
import { WebSocketServer, WebSocket, Sender } from 'ws';

const rooms = new Map();
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
  clientTracking: false,
});

function framed(text) {
  return Buffer.concat(Sender.frame(Buffer.from(text), { fin: true, opcode: 1, mask: false, readOnly: false, rsv1: false }));
}

function join(socket, room) {
  let members = rooms.get(room);
  if (!members) rooms.set(room, (members = new Set()));
  members.add(socket);
  socket.once('close', () => members.delete(socket));
}

server.on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    if (frame.type === 'subscribe') {
      join(socket, frame.employee_id);
      socket.send('{"type":"subscribed"}');
      return;
    }
    const bytes = framed(data);
    for (const member of rooms.get(frame.employee_id) ?? []) {
      if (member.readyState === WebSocket.OPEN) member._socket.write(bytes);
    }
  });
});
