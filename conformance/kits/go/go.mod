module refquant/rqadapter

go 1.21
