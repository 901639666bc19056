import numpy as np, onnx
from onnx import helper as h, numpy_helper as nh, TensorProto as T
import onnxruntime as ort
r=np.random.default_rng(1)
def f(*s): return (r.standard_normal(s)*0.3).astype(np.float32)
init={'stem.weight':f(8,3,3,3),'stem.bias':f(8),'dw.weight':f(8,1,3,3),'bn.g':f(8)+1,'bn.b':f(8),'bn.m':f(8),'bn.v':np.abs(f(8))+.5,
'res.weight':f(8,8,3,3),'mm':f(8*4*4,12),'mb':f(12),'fc.weight':f(5,12),'fc.bias':f(5),'shape':np.array([0,-1],np.int64)}
n=[h.make_node('Conv',['x','stem.weight','stem.bias'],['a'],pads=[1,1,1,1],name='/stem/Conv'),
h.make_node('MaxPool',['a'],['p'],kernel_shape=[2,2],strides=[2,2]),
h.make_node('Relu',['p'],['b']),
h.make_node('Conv',['b','dw.weight'],['c'],group=8,auto_pad='SAME_UPPER',name='dw'),
h.make_node('BatchNormalization',['c','bn.g','bn.b','bn.m','bn.v'],['d'],epsilon=1e-3),
h.make_node('Relu',['d'],['e']),
h.make_node('Conv',['e','res.weight'],['g'],pads=[1,1,1,1]),
h.make_node('Add',['g','b'],['s']),h.make_node('Relu',['s'],['t']),
h.make_node('AveragePool',['t'],['u'],kernel_shape=[2,2],strides=[2,2]),
h.make_node('Reshape',['u','shape'],['v']),
h.make_node('MatMul',['v','mm'],['w0']),h.make_node('Add',['w0','mb'],['w1']),h.make_node('Clip',['w1','zero'],['w']),
h.make_node('Gemm',['w','fc.weight','fc.bias'],['y0'],transB=1),h.make_node('Softmax',['y0'],['y'])]
init['zero']=np.array(0,np.float32)
def model(out):
    nodes=n if out=='y' else n[:-1]
    g=h.make_graph(nodes,'tiny',[h.make_tensor_value_info('x',T.FLOAT,['N',3,16,16])],[h.make_tensor_value_info(out,T.FLOAT,['N',5])],[nh.from_array(v,k) for k,v in init.items()])
    m=h.make_model(g,opset_imports=[h.make_opsetid('',17)],ir_version=9); onnx.checker.check_model(m); return m
import sys
d=sys.argv[1]
m=model('y'); onnx.save(m,d+'/tiny.onnx')
x=((np.arange(2*3*16*16)*37%101)/50.0-1).astype(np.float32).reshape(2,3,16,16)
o=ort.InferenceSession(model('y0').SerializeToString()).run(None,{'x':x})[0]
open(d+'/tiny.logits','w').write('\n'.join(' '.join(f'{v:.6f}' for v in row) for row in o)+'\n'); print(o)
